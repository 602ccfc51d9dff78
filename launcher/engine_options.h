#pragma once
// What one engine is started with. The front fills it from its flags and hands it to every rank as arguments of
// the hidden sub-command `engine`; the attempt's key travels in the environment (kAttemptKeyVariable), never in
// the arguments, which anybody on the host can read.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "coordinator/batching.h"
#include "protocol/endpoint.h"
#include "runtime/step_profiler.h"

namespace trireme {

inline constexpr const char* kAttemptKeyVariable = "TRIREME_ATTEMPT_KEY";

enum class LoadFormat : uint8_t { automatic, dummy };  // dummy: seeded random weights made on the device

struct EngineOptions {
  std::string model;  // path or org/name; the same on every host
  int tp = 1, pp = 1;
  std::vector<int64_t> pp_layers;  // by pipeline stage; empty: so that stages take equally long (runtime/stage_split.h)
  DeviceKind device = DeviceKind::cpu;  // resolved: `auto` never reaches a rank
  LoadFormat load_format = LoadFormat::automatic;
  int64_t max_model_len = 0;        // tokens of prompt + output; 0: the model's
  int max_num_seqs = 0;             // sequences open at once; 0: 256 on GPUs, 64 on the CPU
  int max_num_batched_tokens = 0;   // rows' tokens per step; 0: 8192 on GPUs, 512 on the CPU
  int block_size = 16;              // tokens per KV block
  int64_t num_blocks_override = 0;  // KV blocks; 0: as many as memory_utilization allows
  double memory_utilization = 0.9;  // share of a device's memory that weights, KV cache and work space may fill
  bool prefix_caching = true;
  bool enforce_eager = false;  // no CUDA graphs
  bool custom_all_reduce = true;  // sums of a TP group through the GPUs' shared memory, where they are small
  bool peer_sampling = false;     // and what the group's shards tell each other when they sample
  int prefill_chunk = 0;  // most tokens of one prompt per step; 0: the whole step budget
  std::optional<int> mixed_prefill;  // most tokens of prompts per step while others decode; 0, unset: the whole budget
  std::optional<int> mixed_step_multiple;  // with it: so many more that the step's tokens are a multiple of this; unset: 1
  BatchingPolicy batching = BatchingPolicy::continuous;
  int batch_size = 0;      // sequences of a dynamic or static batch; 0: max_num_seqs
  int batch_wait_ms = 50;  // how long a batch that is not full waits for more requests
  int cpu_threads = 0;    // per rank, CPU back end; 0: this host's cores / its ranks
  uint64_t seed = 0;      // of dummy weights
  bool verbose = false;
  ProfileOptions profile;
  FrontEndpoint front;  // whom to dial; address empty: EngineHooks says so later (engine_main.h)

  int world() const { return tp * pp; }
  int effective_max_num_seqs() const;
  int effective_max_num_batched_tokens() const;
  bool operator==(const EngineOptions&) const = default;
};

// The arguments after `engine`; parse_engine_arguments(to_arguments(o)) == o but for the key, which parse takes
// from the environment. Throws ConfigError naming the flag.
std::vector<std::string> to_arguments(const EngineOptions& options);
EngineOptions parse_engine_arguments(const std::vector<std::string>& arguments);

// Range checks; throws ConfigError with figure and remedy.
void validate(const EngineOptions& options);

}  // namespace trireme
