#pragma once
// How far the host's launches run ahead of the device in steps that are queued op by op. A driver's queue holds some
// thousand kernels and memsets, and whoever launches more is held inside the driver, which spins. A layer of a prompt's
// step is about 14 of them, so that a step of 80 layers alone is too many: rank 0's thread burned a core for as long as
// it took. Here it sleeps instead, with plenty queued. One thread (the worker's).

#include <chrono>
#include <vector>

#include "base/stream.h"

namespace trireme {

class LaunchWindow {
 public:
  static constexpr int kLayers = 4;   // of a group
  static constexpr int kGroups = 12;  // that may be queued and not yet run, of this step and those before
  // Between two looks at the device: far less than the queued layers take, so that it never runs dry.
  static constexpr std::chrono::milliseconds kPause{1};
  explicit LaunchWindow(Device device);

  // After every layer's launches. At the end of a group it waits until the device has passed the group kGroups before.
  void end_layer(int64_t layer, const Stream& stream);

 private:
  std::vector<Event> passed_;  // a ring
  size_t next_ = 0;
};

}  // namespace trireme
