#pragma once
#include "base/device.h"

namespace trireme {

// Bytes per second this process reads from the device's memory: best of a few passes over a buffer far larger
// than the caches, filled first (untouched pages read faster than memory does). Takes about 0.1 s.
double measure_read_bandwidth(Device device);

}  // namespace trireme
