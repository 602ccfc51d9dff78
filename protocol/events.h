#pragma once
// What the engine tells the front, and the port through which the engine's loop sees it.

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "protocol/request.h"

namespace trireme {

enum class FinishReason : uint8_t { none, stop, length, abort, error };
const char* finish_reason_name(FinishReason reason);   // "stop"

struct TokenScore {
  int32_t id = -1;
  float logprob = 0;
  bool operator==(const TokenScore&) const = default;
};

// One more token of one choice, or its end (id -1: an end without a token).
struct TokenEvent {
  RequestId request = 0;
  int32_t choice = 0;
  int32_t index = 0;                 // of this token in the choice's output: no gap, no duplicate
  TokenScore token;
  int32_t rank = 0;                  // 1-based rank among the raw logits
  std::vector<TokenScore> top;
  FinishReason finish = FinishReason::none;
  int32_t stop_id = -1;              // which id ended it
  int32_t cached_tokens = 0;         // prompt tokens a prefix hit spared (first event of a choice)
  float beam_score = 0;              // with a beam's end: its score
  std::string stop_text;             // with a beam's end: the stop string that ended it
  bool operator==(const TokenEvent&) const = default;
};

struct PromptLogprobsEvent {         // position 1.. of the prompt, possibly in several pieces, in order
  RequestId request = 0;
  int32_t first_position = 1;
  std::vector<TokenScore> tokens;
  std::vector<std::vector<TokenScore>> top;
  bool operator==(const PromptLogprobsEvent&) const = default;
};

struct RequestFailedEvent {
  RequestId request = 0;
  bool client_fault = true;          // 4xx, else 5xx
  std::string message;
  bool operator==(const RequestFailedEvent&) const = default;
};

// Ten times a second or so, right before the events that leave nothing to do, and at the end.
struct EngineStats {
  int32_t running = 0, waiting = 0;
  int64_t blocks_total = 0, blocks_free = 0, blocks_cached = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0, preemptions = 0;   // since the start
  int64_t prefix_queries = 0, prefix_hits = 0;                        // tokens
  int64_t padded_tokens = 0;         // that static batches would compute beside the real ones, as rectangles
  int64_t steps = 0;
  double device_seconds = 0;
  double engine_cpu_seconds = 0;     // that rank 0's engine thread computed: scheduling, events
  double worker_cpu_seconds = 0;     // that its worker thread computed in steps; on the CPU back end the math, too
  bool operator==(const EngineStats&) const = default;
};

using EngineEvent = std::variant<TokenEvent, PromptLogprobsEvent, RequestFailedEvent, EngineStats>;

struct SubmitCommand { Request request; };
struct CancelCommand {
  RequestId request = 0;
  int32_t choice = -1;  // -1: all of them
};
struct ShutdownCommand { bool drain = true; };         // finish what is accepted, or drop it
using EngineCommand = std::variant<SubmitCommand, CancelCommand, ShutdownCommand>;

// The engine thread's two ends. Implementations: the link to the front, and tests' in-memory queues.
class EnginePort {
 public:
  virtual ~EnginePort() = default;
  // Commands since the last call; waits up to `timeout` for the first when there are none. Bounded queue.
  virtual std::vector<EngineCommand> receive(std::chrono::microseconds timeout) = 0;
  virtual void emit(std::vector<EngineEvent> events) = 0;                        // in order; returns at once
  virtual void announce(int64_t step, std::span<const RequestId> requests) = 0;  // before a plan is launched
};

}  // namespace trireme
