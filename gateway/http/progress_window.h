#pragma once
// A floor under a transfer's speed: every window of `length` must move at least rate * length bytes. (An average since
// the start would let a client that was fast at first stall for hours.)

#include <chrono>
#include <cstddef>

namespace trireme {

class ProgressWindow {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void start(TimePoint now) {
    since_ = now;
    bytes_ = 0;
  }
  void add(size_t bytes) { bytes_ += bytes; }

  // True: too slow. Begins the next window where one has ended well. rate: bytes/s
  bool overdue(TimePoint now, std::chrono::milliseconds length, size_t rate) {
    if (now - since_ <= length) return false;
    if (bytes_ * 1000 < rate * size_t(length.count()) || bytes_ == 0) return true;
    start(now);
    return false;
  }

 private:
  TimePoint since_;
  size_t bytes_ = 0;
};

}  // namespace trireme
