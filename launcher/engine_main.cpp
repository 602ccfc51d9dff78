#include "launcher/engine_main.h"

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "base/backend_traits.h"
#include "base/fault_injection.h"
#include "base/log.h"
#include "coordinator/engine.h"
#include "gateway/model_assets.h"
#include "kernels/bandwidth.h"
#include "kernels/cpu/thread_pool.h"
#include "protocol/link.h"
#include "runtime/distributed_executor.h"
#include "runtime/rank_runtime.h"

namespace trireme {
namespace {

RankRuntimeOptions runtime_options(const EngineOptions& options) {
  return {.max_model_len = options.max_model_len,
          .max_num_seqs = options.effective_max_num_seqs(),
          .max_num_batched_tokens = options.effective_max_num_batched_tokens(),
          .max_logit_rows = 0,
          .block_size = options.block_size,
          .num_blocks = options.num_blocks_override,
          .memory_utilization = options.memory_utilization,
          .seed = options.seed,
          .stage_layers = options.pp_layers,
          .graphs = options.enforce_eager ? DecodeGraphMode::off : DecodeGraphMode::on,
          .peer_sampling = options.peer_sampling};
}

ClusterOptions cluster_options(const EngineOptions& options) {
  return {.tp = options.tp,
          .pp = options.pp,
          .device = options.device,
          .expected_world = world_from_environment(),
          .peer_memory = options.custom_all_reduce};
}

std::string broadcast_text(Cluster& cluster, const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(bytes.data()));
  bytes = cluster.broadcast_bytes(std::move(bytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// CPU ranks share their host's cores; one thread each at least.
void use_cpu_threads(const Cluster& cluster, int asked) {
  const auto& hosts = cluster.hosts();
  const auto ranks = int(std::count(hosts.begin(), hosts.end(), hosts[size_t(cluster.topology().rank())]));
  set_cpu_threads(asked > 0 ? asked : std::max(1, int(std::thread::hardware_concurrency()) / ranks));
}

// The dtype most of the weights' bytes are in.
std::string dtype_text(const Checkpoint& checkpoint) {
  if (!checkpoint.source) return "bf16 (dummy)";
  std::map<DType, int64_t> bytes;
  for (const TensorInfo& tensor : checkpoint.source->tensors()) bytes[tensor.dtype] += tensor.bytes;
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return std::string(dtype_name(most == bytes.end() ? checkpoint.config.dtype : most->first));
}

// What every rank has to say for the facts, gathered as text on rank 0.
EngineFacts gather_facts(Cluster& cluster, const Checkpoint& checkpoint, const RankRuntime& runtime) {
  const RankMemory& memory = runtime.memory();
  const int64_t used = memory.weight_bytes + memory.kv_bytes;
  std::ostringstream own;
  own << memory.weight_bytes << ' ' << used << ' ' << memory.kv_bytes_per_token << ' '
      << measure_read_bandwidth(cluster.device());
  const ClusterInfo& info = runtime.info();
  EngineFacts facts;
  facts.vocab_size = info.vocab_size;
  facts.max_model_len = info.max_model_len;
  facts.num_blocks = info.groups.at(0).num_blocks;
  facts.block_size = info.groups.at(0).block_size;
  facts.num_slots = info.num_slots;
  facts.max_batched_tokens = info.max_batched_tokens;
  facts.tp = info.tp;
  facts.pp = info.pp;
  facts.device = device_description(cluster.device());
  facts.dtype = dtype_text(checkpoint);
  facts.activation_dtype = std::string(dtype_name(activation_dtype(cluster.device())));
  facts.load_seconds = memory.load_seconds;
  for (const std::string& text : cluster.gather_text(own.str())) {
    std::istringstream in(text);
    int64_t weights = 0, total = 0, kv = 0;
    double bandwidth = 0;
    in >> weights >> total >> kv >> bandwidth;
    facts.weight_bytes.push_back(weights);
    facts.memory_bytes.push_back(total);
    facts.kv_bytes_per_token.push_back(kv);
    facts.memory_bandwidth.push_back(bandwidth);
  }
  return facts;
}

// The front detokenizes; rank 0 does only for stop strings of beam searches, so it reads the tokenizer when one comes.
class LazyTokenizer {
 public:
  explicit LazyTokenizer(std::string model) : model_(std::move(model)) {}
  const Tokenizer* get() {
    if (!std::exchange(tried_, true)) {
      try {
        tokenizer_ = open_model_assets(model_, true).tokenizer;
      } catch (const Error& error) {
        log_warning("no tokenizer for stop strings of beam searches: {}", error.what());
      }
    }
    return tokenizer_.get();
  }

 private:
  std::string model_;
  bool tried_ = false;
  std::unique_ptr<Tokenizer> tokenizer_;
};

// The link, where a fault that is tied to a request strikes once its plan is announced.
class AnnouncingPort final : public EnginePort {
 public:
  explicit AnnouncingPort(EnginePort& link) : link_(link) {}
  std::vector<EngineCommand> receive(std::chrono::microseconds timeout) override { return link_.receive(timeout); }
  void emit(std::vector<EngineEvent> events) override { link_.emit(std::move(events)); }
  void announce(int64_t step, std::span<const RequestId> requests) override {
    link_.announce(step, requests);
    for (RequestId request : requests) fault_point(FaultPoint::request, int64_t(request));
  }

 private:
  EnginePort& link_;
};

// Where work fails whose state cannot be taken apart: threads that still run, memory that waiting kernels hold.
template <typename Work>
void report_before_unwinding(FrontLink& link, Work&& work) {
  try {
    work();
  } catch (const std::exception& error) {
    link.fail(error);
  }
}

void run_rank_zero(const EngineOptions& options, Cluster& cluster, RankRuntime& runtime, FrontLink& link,
                   const EngineFacts& facts, StepProfiler* profiler) {
  DistributedExecutor executor(runtime.worker(), cluster.control(), runtime.info(), profiler);
  cluster.set_idle_hook([&] { executor.pump(); });
  link.send_ready(facts);
  SteadyClock clock;
  SchedulerOptions scheduling;
  scheduling.prefill_chunk = options.prefill_chunk;
  scheduling.mixed_prefill = options.mixed_prefill.value_or(0);
  scheduling.mixed_step_multiple = options.mixed_step_multiple.value_or(1);
  scheduling.min_prefill_share = cluster.device().is_cuda() ? 256 : 32;  // what a device hardly does quicker in pieces
  scheduling.enable_prefix_caching = options.prefix_caching;
  scheduling.batching = {.policy = options.batching,
                         .size = options.batch_size,
                         .wait = std::chrono::milliseconds(options.batch_wait_ms)};
  LazyTokenizer tokenizer(options.model);
  scheduling.tokenizer = [&tokenizer] { return tokenizer.get(); };
  std::thread engine_thread([&] {
    report_before_unwinding(link, [&] {
      AnnouncingPort port(link);
      Engine(port, executor, clock, scheduling).run();
    });
  });
  report_before_unwinding(link, [&] { executor.run(); });
  engine_thread.join();
  cluster.set_idle_hook(nullptr);
}

void run_rank(const EngineOptions& options, Cluster& cluster, FrontLink& link) {
  const Topology& topology = cluster.topology();
  const Device device = cluster.device();
  set_current_device(device);
  if (device.is_cuda())
    link.set_gpu(to_string(device));
  else
    use_cpu_threads(cluster, options.cpu_threads);

  std::optional<StepProfiler> profiler;
  if (!options.profile.directory.empty()) profiler.emplace(options.profile, topology.rank(), device);
  StepProfiler* const profile = profiler ? &*profiler : nullptr;

  const bool dummy = options.load_format == LoadFormat::dummy;
  Checkpoint checkpoint = open_checkpoint(options.model, {.need_weights = !dummy, .need_tokenizer = false});
  if (dummy) checkpoint.source.reset();
  RankRuntime runtime(cluster, checkpoint, runtime_options(options));
  log_debug("rank {} of {}: stage {}, tp {}, weights {:.2f} GB in {:.1f} s, KV cache {:.2f} GB on {}", topology.rank(),
            topology.world(), topology.stage(), topology.tp_rank(), double(runtime.memory().weight_bytes) / 1e9,
            runtime.memory().load_seconds, double(runtime.memory().kv_bytes) / 1e9, device_description(device));
  rank_progress().phase.store(Phase::warming);
  fault_point(FaultPoint::ready);
  const EngineFacts facts = gather_facts(cluster, checkpoint, runtime);
  if (topology.rank() == 0)
    run_rank_zero(options, cluster, runtime, link, facts, profile);
  else
    report_before_unwinding(
        link, [&] { run_worker_loop(runtime.worker(), cluster.control(), topology.rank(), profile); });
  rank_progress().phase.store(Phase::stopping);
  cluster.barrier();  // nobody leaves MPI while a peer's last acknowledgement is on its way
}

}  // namespace

int engine_main(const EngineOptions& options, const EngineHooks& hooks) {
  initialize_logging("rank " + std::to_string(std::max(rank_from_environment(), 0)),
                     options.verbose ? "debug" : "info");
  const RankIdentity identity{std::max(rank_from_environment(), 0), options.world(), ""};
  std::optional<FrontLink> link;
  const auto dial = [&](const FrontEndpoint& front) {
    LinkOptions link_options;
    link_options.front = front;
    link_options.identity = identity;
    link_options.front_is_a_rank = bool(hooks.resolve_front);
    link.emplace(link_options);
    link->forward_logs();
  };
  arm_faults(identity.rank, std::max(options.front.attempt, 1u));
  fault_point(FaultPoint::dial);
  if (!hooks.resolve_front) dial(options.front);
  try {
    std::optional<Cluster> cluster;
    rank_progress().phase.store(Phase::joining);
    fault_point(FaultPoint::join);
    cluster.emplace(cluster_options(options));
    if (hooks.resolve_front)
      dial(hooks.resolve_front([&](std::string text) { return broadcast_text(*cluster, text); }));
    run_rank(options, *cluster, *link);
    link->stop();
    cluster.reset();
  } catch (const std::exception& error) {
    if (!link) throw;
    link->fail(error);
  }
  return 0;
}

}  // namespace trireme
