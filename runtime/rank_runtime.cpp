#include "runtime/rank_runtime.h"

#include <algorithm>
#include <chrono>

#include "base/backend_traits.h"
#include "base/log.h"
#include "runtime/kv_sizing.h"
#include "runtime/linear_tuning.h"
#include "runtime/peer_sums.h"
#include "runtime/stage_split.h"

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
  const int64_t hidden_bytes = info.pp > 1 ? 8 : 4;  // of an element; between stages there are two buffers more
  const int64_t activations =
      model.workspace_bytes(info.max_batched_tokens) + info.max_batched_tokens * config.hidden_size * hidden_bytes;
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

int64_t asked_length(const ModelConfig& config, const RankRuntimeOptions& options) {
  const int64_t length = options.max_model_len > 0 ? options.max_model_len : config.max_positions;
  if (length > config.longest_context())
    throw ConfigError("--max-model-len " + std::to_string(length) + " is more than the model's " +
                      std::to_string(config.longest_context()) + " positions; ask for at most that");
  return std::min<int64_t>(length, INT32_MAX - options.block_size);  // positions are 32-bit numbers
}

struct KvSize {
  std::vector<int32_t> num_blocks;  // by group
  int64_t max_model_len = 0;
};

// The longest sequence must fit the pool, unless the user sized the pool by hand: then every group has that many.
KvSize size_kv(Cluster& cluster, const RankRuntimeOptions& options, const KvSizing& sizing, int64_t step) {
  const int64_t asked_len = sizing.max_model_len;
  if (options.num_blocks > 0)
    return {std::vector<int32_t>(sizing.groups.size(), int32_t(options.num_blocks)), asked_len};
  const int64_t blocks =
      cluster.all_minimum(affordable_blocks(sizing, kv_budget_bytes(cluster, options.memory_utilization, step)));
  if (blocks < 4)
    throw ConfigError(
        "no memory is left for the KV cache: use more ranks (-tp, -pp), a higher --gpu-memory-utilization or a smaller "
        "--max-num-batched-tokens");
  const std::vector<int32_t> num_blocks = blocks_by_group(sizing, blocks);
  const int64_t tokens = longest_sequence(sizing, num_blocks);
  if (tokens >= asked_len) return {num_blocks, asked_len};
  if (options.max_model_len > 0)
    throw ConfigError("the KV cache holds " + std::to_string(tokens) + " tokens, fewer than --max-model-len " +
                      std::to_string(asked_len) + ": lower it, raise --gpu-memory-utilization or use more ranks");
  log_warning("the KV cache holds {} tokens: requests are limited to that, of the model's {} positions", tokens,
              asked_len);
  return {num_blocks, tokens};
}

KvSizing kv_sizing(const Model& model, const ModelConfig& config, const RankRuntimeOptions& options, Device device) {
  KvSizing sizing{.groups = model.kv_groups(),
                  .bytes = {},
                  .max_model_len = asked_length(config, options),
                  .max_num_seqs = options.max_num_seqs,
                  .max_chunk = options.max_num_batched_tokens};
  for (const KvGroupSpec& spec : sizing.groups) sizing.bytes.push_back(kv_block_bytes(spec, device));
  return sizing;
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

Topology with_stages(const Topology& topology, const ModelConfig& config, const RankRuntimeOptions& options) {
  const bool given = !options.stage_layers.empty();
  return topology.with_stage_layers(given ? options.stage_layers : stage_layers(config, topology.pp()));
}

}  // namespace

RankRuntime::RankRuntime(Cluster& cluster, const Checkpoint& checkpoint, const RankRuntimeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const Topology topology = with_stages(cluster.topology(), checkpoint.config, options);
  const Device device = cluster.device();
  rank_progress().phase.store(Phase::loading);

  const Stream stream(device);
  WeightLoader loader(checkpoint.source.get(), device, stream, options.seed);
  if (checkpoint.source)
    loader.show_progress(expected_load_bytes(*checkpoint.source, topology, checkpoint.config.num_layers),
                         topology.rank() == 0);
  std::unique_ptr<Model> model = make_model(
      {checkpoint.config, topology, loader, options.block_size, asked_length(checkpoint.config, options)});
  stream.synchronize();
  memory_.weight_bytes = loader.weight_bytes();
  memory_.bytes_read = loader.bytes_read();
  memory_.load_seconds = seconds_since(start);
  cluster.barrier();  // nobody sizes its cache while a rank of the same host is still loading

  info_ = cluster_info(topology, checkpoint.config, options);
  tune_linear_layers(*model, cluster, info_.max_batched_tokens, info_.max_logit_rows);
  const PeerSums sums = prepare_peer_sums(cluster, checkpoint.config.hidden_size, info_.max_batched_tokens,
                                          options.peer_sampling);
  const KvSizing sizing = kv_sizing(*model, checkpoint.config, options, device);
  const KvSize size = size_kv(cluster, options, sizing, step_bytes(*model, topology, checkpoint.config, info_));
  info_.max_model_len = int32_t(size.max_model_len);
  info_.max_blocks_per_slot = int32_t(blocks_for(size.max_model_len + 1, options.block_size));
  for (size_t group = 0; group < sizing.groups.size(); ++group) {
    info_.groups.push_back({sizing.groups[group].block_size, size.num_blocks[group], sizing.groups[group].window});
    memory_.kv_bytes += size.num_blocks[group] * sizing.bytes[group];
    memory_.kv_bytes_per_token += sizing.bytes[group] / options.block_size;
  }

  auto pool = std::make_unique<KvPool>(sizing.groups, size.num_blocks, device);
  worker_ = std::make_unique<Worker>(
      std::move(model), std::move(pool), checkpoint.config, topology, info_,
      WorkerGroups{cluster.tp_group(), cluster.from_previous_stage(), cluster.to_next_stage(),
                   cluster.pipeline_feedback(), sums,
                   options.peer_sampling ? sums.buffers : nullptr},
      device, options.graphs);
  rank_progress().phase.store(Phase::warming);
  worker_->warm_up();
  cluster.barrier();
}

}  // namespace trireme
