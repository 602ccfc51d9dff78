#pragma once
// Tensor maps of a linear layer's weights and input, as warpgroup products take them (hopper_linear.h, wide_linear.h).

#include "kernels/cuda/common/tensor_map.h"
#include "kernels/cuda/linear/skinny_mma.h"

namespace trireme::cuda {

// Boxes of `rows` weight rows by 64 k. Of gated layers eight gates, their eight ups, and so on: rows are a multiple of 16.
CUtensorMap linear_weight_map(const SkinnyLinear& problem, int rows);
// Boxes of `tokens` tokens by 64 k.
CUtensorMap linear_input_map(const SkinnyLinear& problem, int tokens);

}  // namespace trireme::cuda
