#pragma once
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

// Rotary position embedding in place, Hugging Face's half-split form: for i < rotary/2, angle = position * inv_freq[i],
// (x[i], x[i + rotary/2]) <- (x[i] cos - x[i + rotary/2] sin, x[i + rotary/2] cos + x[i] sin); dimensions >= rotary stay.
// x: [T, heads, head_dim] activation dtype, token stride free.   positions: [T] i32.   inv_freq: [rotary/2] f32.
// scale multiplies cos and sin (yarn, longrope; else 1). Angles are float32 products; cos and sin accurate to 1 ulp or so.
void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);

// The same on neighbours: (x[2i], x[2i + 1]) <- (x[2i] cos - x[2i + 1] sin, x[2i + 1] cos + x[2i] sin).
void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);

}  // namespace trireme
