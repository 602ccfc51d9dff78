#pragma once
// GGUF block formats as float32, bit-exactly as PyPI gguf.quants computes them.

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace trireme {

// q8_0: d * q.   q4_1: d * q + m.   `elements` is a multiple of 32.
void dequantize_blocks(DType dtype, const std::byte* blocks, int64_t elements, float* out);

}  // namespace trireme
