#include "runtime/rank_runtime.h"

#include <algorithm>
#include <chrono>

#include "base/backend_traits.h"
#include "base/log.h"

namespace trireme {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int local_ranks(const Cluster& cluster) {
  const auto& hosts = cluster.hosts();
  return int(std::count(hosts.begin(), hosts.end(), hosts[size_t(cluster.topology().rank())]));
}

// What the worker takes beside weights and KV cache: activations, logits, sampling and collectives.
int64_t step_bytes(const Model& model, const Topology& topology, const ModelConfig& config, const ClusterInfo& info) {
  const int64_t activations =
      model.workspace_bytes(info.max_batched_tokens) + info.max_batched_tokens * config.hidden_size * 4;
  const int64_t logits =
      topology.is_last_stage() ? int64_t(info.max_logit_rows) * topology.shard(config.vocab_size).size() * 12 : 0;
  const int64_t counts =
      topology.is_last_stage() ? int64_t(info.num_slots) * topology.shard(config.vocab_size).size() * 2 : 0;
  return activations + logits + counts;
}

// Memory this rank may fill with KV blocks. A GPU is ours alone up to memory_utilization; a host's memory is
// shared with its other programs, so the CPU back end takes a third of what is free at most.
int64_t kv_budget_bytes(const Cluster& cluster, double utilization, int64_t step) {
  const Device device = cluster.device();
  const auto free_bytes = int64_t(device_free_bytes(device)), total = int64_t(device_total_bytes(device));
  if (device.is_cpu()) return int64_t(double(free_bytes) * utilization / 3) / local_ranks(cluster) - step;
  constexpr int64_t kReserve = int64_t(1) << 30;  // NCCL, cuBLASLt, CUDA modules
  return free_bytes - int64_t(double(total) * (1 - utilization)) - step - kReserve;
}

int64_t blocks_for(int64_t tokens, int32_t block_size) { return (tokens + block_size - 1) / block_size; }

struct KvSize {
  int64_t num_blocks = 0;
  int64_t max_model_len = 0;
};

// The longest sequence must fit the pool, unless the user sized the pool by hand.
KvSize size_kv(Cluster& cluster, const ModelConfig& config, const RankRuntimeOptions& options, int64_t bytes_per_block,
               int64_t step) {
  const int64_t asked_len = options.max_model_len > 0 ? options.max_model_len : config.max_positions;
  if (asked_len > config.max_positions)
    throw ConfigError("--max-model-len " + std::to_string(asked_len) + " is more than the model's " +
                      std::to_string(config.max_positions) + " positions; ask for at most that");
  if (options.num_blocks > 0) return {options.num_blocks, asked_len};
  const int64_t useful = blocks_for(asked_len, options.block_size) * options.max_num_seqs;
  const int64_t affordable = kv_budget_bytes(cluster, options.memory_utilization, step) / bytes_per_block;
  const int64_t blocks =
      cluster.all_minimum(std::clamp<int64_t>(std::min(useful, affordable), 0, INT32_MAX / options.block_size));
  const int64_t tokens = blocks * options.block_size;
  if (blocks < 4)
    throw ConfigError(
        "no memory is left for the KV cache: use more ranks (-tp, -pp), a higher --gpu-memory-utilization or a smaller "
        "--max-num-batched-tokens");
  if (tokens >= asked_len) return {blocks, asked_len};
  if (options.max_model_len > 0)
    throw ConfigError("the KV cache holds " + std::to_string(tokens) + " tokens, fewer than --max-model-len " +
                      std::to_string(asked_len) + ": lower it, raise --gpu-memory-utilization or use more ranks");
  log_warning("the KV cache holds {} tokens: requests are limited to that, of the model's {} positions", tokens,
              asked_len);
  return {blocks, tokens};
}

ClusterInfo cluster_info(const Topology& topology, const ModelConfig& config, const RankRuntimeOptions& options) {
  ClusterInfo info;
  info.world = topology.world();
  info.tp = topology.tp();
  info.pp = topology.pp();
  info.num_slots = options.max_num_seqs;
  info.max_batched_tokens = options.max_num_batched_tokens;
  info.max_logit_rows = options.max_logit_rows > 0 ? options.max_logit_rows : std::max(options.max_num_seqs, 64);
  info.vocab_size = config.vocab_size;
  return info;
}

}  // namespace

RankRuntime::RankRuntime(Cluster& cluster, const Checkpoint& checkpoint, const RankRuntimeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const Topology& topology = cluster.topology();
  const Device device = cluster.device();
  rank_progress().phase.store(Phase::loading);

  const Stream stream(device);
  WeightLoader loader(checkpoint.source.get(), device, stream, options.seed);
  if (checkpoint.source && topology.rank() == 0)
    loader.show_progress(expected_load_bytes(*checkpoint.source, topology, checkpoint.config.num_layers));
  std::unique_ptr<Model> model = make_model({checkpoint.config, topology, loader, options.block_size});
  stream.synchronize();
  memory_.weight_bytes = loader.weight_bytes();
  memory_.bytes_read = loader.bytes_read();
  memory_.load_seconds = seconds_since(start);
  cluster.barrier();  // nobody sizes its cache while a rank of the same host is still loading

  info_ = cluster_info(topology, checkpoint.config, options);
  int64_t bytes_per_block = 0;
  for (const KvGroupSpec& spec : model->kv_groups()) bytes_per_block += kv_block_bytes(spec, device);
  const KvSize size = size_kv(cluster, checkpoint.config, options, bytes_per_block,
                              step_bytes(*model, topology, checkpoint.config, info_));
  info_.max_model_len = int32_t(size.max_model_len);
  info_.max_blocks_per_slot = int32_t(blocks_for(size.max_model_len + 1, options.block_size));
  for (const KvGroupSpec& spec : model->kv_groups())
    info_.groups.push_back({spec.block_size, int32_t(size.num_blocks), spec.window});
  memory_.kv_bytes = size.num_blocks * bytes_per_block;
  memory_.kv_bytes_per_token = bytes_per_block / options.block_size;

  auto pool = std::make_unique<KvPool>(model->kv_groups(),
                                       std::vector<int32_t>(info_.groups.size(), int32_t(size.num_blocks)), device);
  worker_ = std::make_unique<Worker>(
      std::move(model), std::move(pool), checkpoint.config, topology, info_,
      WorkerGroups{cluster.tp_group(), cluster.pipeline_forward(), cluster.pipeline_feedback()}, device);
  cluster.barrier();
}

}  // namespace trireme
