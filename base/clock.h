#pragma once
// Time as a seam: components that wait or measure take a Clock, so that tests can own time.

#include <time.h>

#include <chrono>

namespace trireme {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual double thread_cpu_seconds() const { return 0; }  // that the calling thread has computed, waits left out
};

inline double thread_cpu_seconds() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return double(used.tv_sec) + double(used.tv_nsec) * 1e-9;
}

class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
  double thread_cpu_seconds() const override { return trireme::thread_cpu_seconds(); }
};

}  // namespace trireme
