#pragma once
// GGUF block formats as float32, bit-exactly as PyPI gguf.quants computes them: every product and sum is rounded to
// float32 by itself.

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace trireme {

// `elements` is a multiple of the format's block. d, m: the block's f16 scale and minimum.
//   q4_0, q5_0   d * (q - 8), d * (q - 16)          q4_1, q5_1   d * q + m          q8_0   d * q
//   q2_k to q6_k: k_quants.h
void dequantize_blocks(DType dtype, const std::byte* blocks, int64_t elements, float* out);

}  // namespace trireme
