#pragma once
// Asks now and then whether a communicator has noticed that a peer failed: NCCL says so only when asked, and its
// kernels would wait for ever. What is thrown ends the process, and the front's report names rank, step and operation.

#include <functional>
#include <utility>

#include "base/clock.h"

namespace trireme {

class HealthPoll {
 public:
  static constexpr std::chrono::milliseconds kPeriod{100};
  // `check` throws when something is wrong.
  explicit HealthPoll(std::function<void()> check) : check_(std::move(check)) {}
  void operator()(TimePoint now = std::chrono::steady_clock::now()) {
    if (now < next_) return;
    next_ = now + kPeriod;
    check_();
  }

 private:
  std::function<void()> check_;
  TimePoint next_{};
};

}  // namespace trireme
