#pragma once
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

// out[r, c] = x[r, c] / sqrt(mean_c(x[r, :]^2) + eps) * weight[c].   x, out: [rows, cols], out may be x; weight: [cols] f32.
// Sums in float32 or wider, in an order that depends only on cols. Rows may be strided.
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);

// out[r, c] = (x[r, c] - mean) / sqrt(var + eps) * weight[c] + bias[c], biased variance.   weight, bias: [cols] f32.
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);

}  // namespace trireme
