#pragma once
// Finds by measurement how the linear layers of one shape are computed fastest. Included by CUDA files only.

#include <span>
#include <vector>

#include "kernels/linear_tuning.h"

namespace trireme::cuda {

// One choice for each of these numbers of tokens. The rest as for tune_linear (kernels/linear_tuning.h).
std::vector<LinearChoice> measure_shape(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                                        std::span<const int64_t> token_counts, const Stream& stream);

}  // namespace trireme::cuda
