#pragma once
// The rotary embedding of a kind of layer; shared by the layers of that kind.

#include "base/stream.h"
#include "base/tensor.h"
#include "checkpoint/model_config.h"

namespace trireme {

struct RotaryEmbedding {
  Tensor inv_freq;           // [rotary_dim / 2] f32; empty: the model has no rotary embedding
  float scale = 1;           // of cos and sin (yarn, longrope)
  bool interleaved = false;  // pairs of neighbours
};

// max_model_len: see checkpoint/rope_scaling.h.
RotaryEmbedding make_rotary(const RopeConfig& rope, int64_t max_model_len, Device device, const Stream& stream);

}  // namespace trireme
