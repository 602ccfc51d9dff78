#include "runtime/launch_window.h"

#include "parallel/wait.h"

namespace trireme {

LaunchWindow::LaunchWindow(Device device) {
  for (int group = 0; group < kGroups; ++group) passed_.emplace_back(device);
}

void LaunchWindow::end_layer(int64_t layer, const Stream& stream) {
  if ((layer + 1) % kLayers != 0) return;
  Event& oldest = passed_[next_++ % passed_.size()];
  if (!oldest.done()) wait_until([&] { return oldest.done(); }, "launches of a step", IdleHook(), Duration(0));
  oldest.record(stream);
}

}  // namespace trireme
