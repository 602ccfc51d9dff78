#pragma once

#include "launcher/command_line.h"

namespace trireme {

// trireme generate. Returns the exit code; throws Error before an engine exists.
int run_generate(const GenerateCommand& command);

}  // namespace trireme
