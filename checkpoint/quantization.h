#pragma once
// Recognises checkpoints whose weights are values only together with scales, zero points or code books, and refuses
// them: none of those methods is read yet, and their bytes would load as nonsense.

#include <string>
#include <string_view>

#include "checkpoint/tensor_source.h"

namespace trireme {

// By config.json's quantization_config (or compression_config). Throws CheckpointError naming the method.
void refuse_quantized_config(std::string_view config_json, const std::string& what);

// By tensors that hold scales or packed integers ("...weight_scale_inv", "...qweight"). Throws CheckpointError naming
// the first and the methods that write it.
void refuse_quantized_tensors(const TensorSource& source);

}  // namespace trireme
