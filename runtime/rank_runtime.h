#pragma once
// Puts one rank together: weights of its shard, its partition of the KV cache, its worker; and what the
// cluster as a whole can do (ClusterInfo, the same on every rank).

#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "parallel/cluster.h"
#include "runtime/worker.h"

namespace trireme {

struct RankRuntimeOptions {
  int64_t max_model_len = 0;  // 0: the model's, or what the KV cache can hold
  int32_t max_num_seqs = 256;
  int32_t max_num_batched_tokens = 2048;
  int32_t max_logit_rows = 0;  // 0: max_num_seqs, at least 64
  int32_t block_size = 16;
  int64_t num_blocks = 0;           // of every KV group; 0: as memory_utilization allows (kv_sizing.h)
  double memory_utilization = 0.9;  // share of the device's memory that weights, KV cache and work space may fill
  uint64_t seed = 0;                // of dummy weights
  std::vector<int64_t> stage_layers = {};  // by pipeline stage; empty: stage_split.h
  DecodeGraphMode graphs = DecodeGraphMode::on;
  bool peer_sampling = false;  // shards exchange through the peers' memory, where sums do
};

// For the summary and the bench's floors.
struct RankMemory {
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t kv_bytes_per_token = 0;  // while no window hides any
  int64_t bytes_read = 0;          // of the checkpoint
  double load_seconds = 0;
};

class RankRuntime {
 public:
  // Collective over the cluster. `checkpoint.source` null: dummy weights. Throws ConfigError (a topology or a
  // length that cannot work) or CheckpointError.
  RankRuntime(Cluster& cluster, const Checkpoint& checkpoint, const RankRuntimeOptions& options);

  Worker& worker() { return *worker_; }
  const ClusterInfo& info() const { return info_; }
  const RankMemory& memory() const { return memory_; }

 private:
  std::unique_ptr<Worker> worker_;
  ClusterInfo info_;
  RankMemory memory_;
};

}  // namespace trireme
