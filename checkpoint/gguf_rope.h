#pragma once
// RoPE settings from GGUF metadata and from the tensors in which some families store factors.

#include "checkpoint/gguf.h"

namespace trireme {

// `config` has head_dim and max_positions; the latter grows where the scaling says so. `family`: the keys' prefix.
RopeConfig read_gguf_rope(const GgufModel& model, const std::string& family, ModelConfig& config);

}  // namespace trireme
