#pragma once
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

// out[t, c] = silu(gate_up[t, c]) * gate_up[t, cols + c].   gate_up: [T, 2 cols], out: [T, cols], activation dtype.
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);

// out[t, c] = gelu_tanh(gate_up[t, c]) * gate_up[t, cols + c]; shapes as silu_mul.
void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream);

enum class Activation { silu, gelu_tanh };  // of a gated layer
inline void gated_mul(TensorView out, TensorView gate_up, Activation activation, const Stream& stream) {
  activation == Activation::silu ? silu_mul(out, gate_up, stream) : gelu_mul(out, gate_up, stream);
}

// GELU, tanh approximation: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).   out may be x; activation dtype.
void gelu_tanh(TensorView out, TensorView x, const Stream& stream);

// hidden[t, c] += sum[t, c] (+ bias[c]).   hidden: [T, cols] activation dtype; sum: partial dtype, already summed over
// the ranks; bias: [cols] activation dtype or empty. Computed in the wider type, rounded once.
void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream);

// hidden[t, :] += table[positions[t], :].   positions: [T] i32; table: [max_positions, cols] activation dtype.
void add_position_embedding(TensorView hidden, TensorView positions, TensorView table, const Stream& stream);

// out[i, :] = x[indices[i], :].   indices: [n] i32; any plain dtype; rows of x may be strided.
void gather_rows(TensorView out, TensorView x, TensorView indices, const Stream& stream);

// x *= factor.   x: [T, cols] activation dtype, rows may be strided.
void scale(TensorView x, float factor, const Stream& stream);

// x <- cap * tanh(x / cap).   x: [R, cols] f32 (logits), rows may be strided; cap > 0.
void soft_cap(TensorView x, float cap, const Stream& stream);

}  // namespace trireme
