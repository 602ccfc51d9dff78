#pragma once
// RoPE settings from a config, and the llama3 rule by which the frequencies are stretched.

#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace trireme {

// Throws CheckpointError naming `what` unless type and figures are ones that are computed here.
void check_rope(const RopeConfig& rope, const std::string& what);

// By what each of the rotary_dim / 2 frequencies theta^(-2i/rotary_dim) is divided; all 1 for type default.
std::vector<double> rope_divisors(const RopeConfig& rope);

}  // namespace trireme
