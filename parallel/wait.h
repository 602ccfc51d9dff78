#pragma once
// How a rank waits for its peers: it never blocks inside MPI, and it gives its core away soon. Several ranks
// often share a core on the CPU back end, and rank 0 must go on passing plans while it waits.

#include <chrono>
#include <functional>

#include "base/clock.h"
#include "parallel/communicator.h"

namespace trireme {

// The front's watch ends a stuck cluster within seconds; this bound serves runs that no front watches.
inline constexpr std::chrono::minutes kLongestWait{30};

// Yields the core for `busy`, then sleeps: a sixteenth of the time waited so far, at most 1 ms, so that a wait
// is overrun by some 6 % and a long one costs about 1 % of a core. Yielding costs peers on the same core nothing
// measurable, while a sleep that begins too early does: 4 ranks on 2 cores, 60 all-reduces with 300 us of work
// each (36 ms ideal), take 38 ms when they yield for 1 ms and 45 ms when they sleep after 0.2 ms.
class Backoff {
 public:
  static constexpr std::chrono::microseconds kBusy{1000};
  explicit Backoff(Duration busy = kBusy) : begin_(std::chrono::steady_clock::now()), busy_(busy) {}
  void pause();
  Duration waited() const { return waited_; }   // as of the last pause

 private:
  TimePoint begin_;
  Duration busy_;
  Duration waited_{};
};

// Polls `done` with back-off, calling `idle` (if any) in between. `operation` names the wait in the
// InternalError that ends it after kLongestWait.
void wait_until(const std::function<bool()>& done, const char* operation, const IdleHook& idle,
                Duration busy = Backoff::kBusy);

}  // namespace trireme
