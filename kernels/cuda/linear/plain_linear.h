#pragma once
// Linear layers that nothing else takes: rows whose length or address is no multiple of 16 bytes.

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::cuda {

// out = x weight^T (+ bias) for any number of tokens and any alignment. out: bf16 or float32; the rest bf16.
// The order of a sum depends on in_features only.
void plain_linear(TensorView out, TensorView x, TensorView weight, TensorView bias, const Stream& stream);

}  // namespace trireme::cuda
