#pragma once
// The GPU's half of base/profiler.h: CUPTI's activity records as spans. CUPTI is looked for at run time and never
// linked; a build without its headers refuses.

#include <string>

#include "base/profiler.h"

namespace trireme {

// Why this build cannot record a GPU, with the remedy; empty: it can.
std::string device_profiling_refusal();

// Loads CUPTI and attaches it to the device's work. Throws ConfigError.
void enable_device_records();
void begin_device_records();  // earlier work is forgotten; its stream should be synchronized
// Hands those that began at `start_ns` or later to add_span, and records no more.
void collect_device_records(int64_t start_ns);

}  // namespace trireme
