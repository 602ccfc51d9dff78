#pragma once
// What ranks and front say to each other besides requests and events. Plain values; the bytes are codec.h's.

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/progress.h"
#include "protocol/events.h"

namespace trireme {

// rank -> front ----------------------------------------------------------------------------------------------

struct Hello {  // first frame of a connection
  std::string key;
  int32_t rank = 0, world = 1;
  int64_t pid = 0;
  std::string host;
  std::string gpu;  // empty: none or not known yet (a second Hello may tell it later)
  bool operator==(const Hello&) const = default;
};

struct Beat {
  Phase phase = Phase::starting;
  int64_t step = -1;
  uint64_t counter = 0;   // base/progress.h: moves while the rank moves
  std::string operation;  // the last op begun
  uint32_t loaded = 0;    // of its weights, per mille
  uint64_t waited_ns = 0;  // for a core so far, its threads summed (base/run_queue.h); told while it is stepping
  bool operator==(const Beat&) const = default;
};

struct LogLine {
  int32_t level = 2;  // spdlog's
  std::string line;
  bool operator==(const LogLine&) const = default;
};

// Whose fault the end of a rank is: decides the exit code and the wording.
enum class FailureKind : uint8_t { internal, config, checkpoint, environment };

struct Failure {
  FailureKind kind = FailureKind::internal;
  int32_t rank = 0;
  int64_t step = -1;
  std::string operation;
  std::string text;
  bool operator==(const Failure&) const = default;
};

// What rank 0 knows once every rank is ready to step.
struct EngineFacts {
  int64_t vocab_size = 0;
  int64_t max_model_len = 0;
  int64_t num_blocks = 0;  // minimum over ranks
  int32_t block_size = 16;
  int32_t num_slots = 0;  // sequences open at once
  int32_t max_batched_tokens = 0;
  int32_t tp = 1, pp = 1;
  std::string device;  // "NVIDIA H200, 141 GB" or the CPU's model name
  std::string dtype;   // of weights: "bf16"
  std::string activation_dtype;
  double load_seconds = 0;
  // Per rank, indexed by rank (empty: not measured).
  std::vector<int64_t> weight_bytes;        // read by a decode step
  std::vector<int64_t> memory_bytes;        // in use when ready
  std::vector<int64_t> kv_bytes_per_token;  // of one sequence's cached token, read by a decode step
  std::vector<double> memory_bandwidth;     // bytes/s, measured by reading on this device
  bool operator==(const EngineFacts&) const = default;
};

struct EventBatch {  // rank 0, in order
  std::vector<EngineEvent> events;
  bool operator==(const EventBatch&) const = default;
};

struct Announce {  // rank 0, before the plan is launched: who may be to blame for a crash
  int64_t step = 0;
  std::vector<RequestId> requests;
  bool operator==(const Announce&) const = default;
};

struct Stopped {  // this rank ends cleanly; the last frame
  bool operator==(const Stopped&) const = default;
};

using RankMessage = std::variant<Hello, Beat, LogLine, Failure, EngineFacts, EventBatch, Announce, Stopped>;

// front -> rank ----------------------------------------------------------------------------------------------

struct Welcome {
  bool operator==(const Welcome&) const = default;
};
struct Keepalive {  // at least once a second
  bool operator==(const Keepalive&) const = default;
};

using FrontMessage = std::variant<Welcome, Keepalive, SubmitCommand, CancelCommand, ShutdownCommand>;

}  // namespace trireme
