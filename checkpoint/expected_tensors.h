#pragma once
// The tensors that a model of a given config has, by Hugging Face's names: what is missing and what nobody reads.

#include <optional>
#include <set>
#include <string>

#include "checkpoint/model_config.h"

namespace trireme {

// Empty for an architecture that has no list here.
std::optional<std::set<std::string>> expected_tensors(const ModelConfig& config);

// Buffers that old checkpoints saved: computed, never read.
bool is_saved_buffer(const std::string& name);

// 7 for "model.layers.7.mlp.up_proj.weight" and "transformer.h.7.ln_1.weight"; -1 for a tensor outside the layers.
int64_t layer_of_tensor(std::string_view name);

}  // namespace trireme
