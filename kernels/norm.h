#pragma once
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

// out[r, c] = x[r, c] / sqrt(mean_c(x[r, :]^2) + eps) * weight[c].   x, out: [rows, cols], out may be x; weight: [cols] f32.
// Sums in float32 or wider, in an order that depends only on cols. Rows may be strided.
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);

// out[r, c] = (x[r, c] - mean) / sqrt(var + eps) * weight[c] + bias[c], biased variance.   weight, bias: [cols] f32.
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);

// The norm of each head by itself, in place.   x: [T, heads, head_dim], token stride free; weight: [head_dim] f32.
void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream& stream);

// hidden[t, :] += rms_norm(sum[t, :] (+ bias)).   hidden: [T, cols] activation dtype; sum: partial dtype, already summed
// over the ranks; bias: [cols] activation dtype or empty; weight: [cols] f32. On the cpu sum + bias is rounded to
// float32 first, as if it had been stored.
void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                      const Stream& stream);

// hidden += sum (+ bias), then normed = rms_norm(hidden): add_partial and rms_norm in one pass, the bits of the two.
// Shapes as add_norm_partial; normed: like hidden.
void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream);

// A norm over rows whose heads are spread over ranks, in two halves with a sum over the group between them. Each head's
// sum is made by one rank and the others add zeros; heads are added in ascending order afterwards: so the bits do not
// depend on how the heads were dealt out.
inline DType square_sum_dtype(Device device) { return device.is_cpu() ? DType::f64 : DType::f32; }
// sums[t, h] = sum_d x[t, h, d]^2.   x: [T, heads, head_dim], token stride free; sums: [T, heads] square_sum_dtype, row
// stride free.
void head_square_sums(TensorView sums, TensorView x, const Stream& stream);
// x[t, c] <- x[t, c] / sqrt(sum_h sums[t, h] / length + eps) * weight[c].   x: [T, cols] this rank's part of rows of
// `length`; sums: [T, all heads], row stride free; weight: [cols] f32.
void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps,
                      const Stream& stream);

}  // namespace trireme
