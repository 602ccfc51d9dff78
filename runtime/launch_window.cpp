#include "runtime/launch_window.h"

namespace trireme {

LaunchWindow::LaunchWindow(Device device) {
  for (int group = 0; group < kGroups; ++group) passed_.emplace_back(device, EventWait::sleeping);
}

void LaunchWindow::end_layer(int64_t layer, const Stream& stream) {
  if ((layer + 1) % kLayers != 0) return;
  Event& oldest = passed_[next_++ % passed_.size()];
  oldest.synchronize();
  oldest.record(stream);
}

}  // namespace trireme
