#include "parallel/wait.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "parallel/control_channel.h"

namespace trireme {

using std::chrono::microseconds;

void Backoff::pause() {
  waited_ = std::chrono::steady_clock::now() - begin_;
  if (waited_ < busy_) sched_yield();
  else std::this_thread::sleep_for(std::clamp<Duration>(waited_ / 16, microseconds(50), microseconds(1000)));
}

void wait_until(const std::function<bool()>& done, const char* operation, const IdleHook& idle, Duration busy) {
  constexpr microseconds kBeforeIdle{20};   // a peer that is nearly there is met without a detour
  Backoff backoff(busy);
  while (!done()) {
    if (idle && backoff.waited() > kBeforeIdle) idle();
    backoff.pause();
    CHECK(backoff.waited() < kLongestWait) << operation << "waited 30 minutes for the other ranks";
  }
}

void poll_with_backoff(const std::function<bool()>& poll) {
  Backoff backoff;
  while (!poll()) backoff.pause();
}

}  // namespace trireme
