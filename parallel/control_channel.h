#pragma once
// Small host messages: rank 0 -> all (plans, sampling orders), acknowledgements upward. Own MPI communicator.
// Never blocks inside MPI: sends are buffered and progressed by pump(); receives are polled, and an idle rank
// backs off to short sleeps (<= 1 ms) instead of burning a core. Used by the worker's thread only.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace trireme {

enum class ControlKind : uint8_t { plan = 1, sampling = 2 };

struct ControlMessage {
  ControlKind kind{};
  std::vector<std::byte> bytes;
};

// A rank's word on one finished step. status 0 is clean; anything else makes the step's ids unusable.
struct StepAck {
  int32_t rank = 0;
  int32_t status = 0;
  int64_t step = 0;
};

class ControlChannel {
 public:
  virtual ~ControlChannel() = default;
  virtual void broadcast(ControlMessage message) = 0;               // rank 0; returns at once, bytes kept until sent
  virtual std::optional<ControlMessage> try_receive() = 0;          // other ranks; in order
  virtual void acknowledge(const StepAck& ack) = 0;                 // other ranks
  virtual std::optional<StepAck> try_receive_ack() = 0;             // rank 0
  virtual void pump() = 0;                                          // progresses pending sends
};

// Calls `poll` until it returns true; in between yields the core for 1 ms, then sleeps ever longer up to 1 ms.
void poll_with_backoff(const std::function<bool()>& poll);

}  // namespace trireme
