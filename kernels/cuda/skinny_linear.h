#pragma once
// Linear layers of few tokens: every weight is read once and used for at most kSkinnyTokens tokens on the
// CUDA cores, which keeps up with memory where a tensor-core tile would stand mostly empty.

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::cuda {

inline constexpr int64_t kSkinnyTokens = 4;

// out = x weight^T (+ bias) for any number of tokens and any alignment: wide loads and one pass where
// tokens <= kSkinnyTokens and rows are 16-byte aligned, else slow. out: bf16 or float32; the rest bf16.
// The order of a sum depends on in_features (and the alignment) only.
void skinny_linear(TensorView out, TensorView x, TensorView weight, TensorView bias, const Stream& stream);

}  // namespace trireme::cuda
