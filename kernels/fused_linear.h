#pragma once
// Linear layers with what stands before and after them in a decoder. On the cpu each is the ops it names, in that
// order, bit for bit. On cuda few tokens take one kernel, which keeps the values between float32 (before one of the
// possible kernels, from 9 tokens on, the norm is its own); more take cuBLASLt or, as measured, a kernel behind a norm.
// Scratch views are work space with undefined contents afterwards; a back end may leave them alone.

#include "kernels/elementwise.h"
#include "kernels/linear.h"

namespace trireme {

// hidden += x weight^T (+ bias): linear, add_partial.
// hidden: [T, out] and x: [T, in] activation dtype, rows may be strided; bias: [out] activation dtype or empty;
// sum: scratch [T, out] partial dtype.
void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream);

// A norm that a linear layer's input goes through; `weight` empty: none.
struct InputNorm {
  TensorView weight;  // [in] f32
  float eps = 0;
};

// out = rms_norm(x) weight^T (+ bias): rms_norm, linear.
// out: [T, out] activation dtype or f32; x: [T, in] activation dtype; normed: scratch like x, empty without a norm.
void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream);

// Work space of norm_gated_linear: [T, in] (may be empty without a norm) and [T, 2 cols], activation dtype.
struct GatedScratch {
  TensorView normed, gate_up;
};

// out = activation(gate) * up with (gate, up) = rms_norm(x) weight^T (+ bias): rms_norm, linear, silu_mul or gelu_mul.
// out: [T, cols]; weight: [2 cols, in], rows: gates, ups; bias: [2 cols] or empty.
void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream);

}  // namespace trireme
