#pragma once

#include "launcher/command_line.h"

namespace trireme {

// trireme bench latency | throughput. Returns the exit code; throws Error before an engine exists.
int run_bench(const BenchCommand& command);

}  // namespace trireme
