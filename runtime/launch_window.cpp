#include "runtime/launch_window.h"

#include <thread>

#include "base/check.h"
#include "parallel/wait.h"

namespace trireme {

LaunchWindow::LaunchWindow(Device device) {
  for (int group = 0; group < kGroups; ++group) passed_.emplace_back(device);
}

void LaunchWindow::end_layer(int64_t layer, const Stream& stream) {
  if ((layer + 1) % kLayers != 0) return;
  Event& oldest = passed_[next_++ % passed_.size()];
  for (const auto begin = std::chrono::steady_clock::now(); !oldest.done(); std::this_thread::sleep_for(kPause))
    CHECK(std::chrono::steady_clock::now() - begin < kLongestWait) << "layers launched earlier do not end";
  oldest.record(stream);
}

}  // namespace trireme
