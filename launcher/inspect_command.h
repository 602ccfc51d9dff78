#pragma once

#include <string>

#include "launcher/command_line.h"

namespace trireme {

// What trireme inspect prints: the model (checkpoint/inspect.h), then a line per rank with its share of weights and of
// the KV cache. Reads headers only; needs neither GPU nor MPI. Throws CheckpointError as generate does, and ConfigError
// when the model cannot be divided so.
std::string inspect_report(const InspectCommand& command);

}  // namespace trireme
