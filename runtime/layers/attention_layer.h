#pragma once
// Attention of one decoder layer on this rank's heads: fused q/k/v, rotary embedding where the model has one,
// the paged cache, and the output projection added into the residual stream.

#include "kernels/rope.h"
#include "parallel/topology.h"
#include "runtime/layers/parallel_linear.h"

namespace trireme {

struct AttentionShape {
  HeadShard heads;  // this rank's
  int64_t head_dim = 0;
  int group = 0;             // KV group
  AttentionOptions options;  // scale, window, soft cap
  int64_t qkv_features() const { return (heads.q.size() + 2 * heads.kv.size()) * head_dim; }
};

struct AttentionLayer {
  AttentionShape shape;
  ColumnParallelLinear qkv;  // rows: q heads, k heads, v heads
  RowParallelLinear output;  // granule: one head

  // hidden += attention(x).   x: [T, hidden] (normalized).   inv_freq: [rotary/2] f32, empty: no rotary embedding.
  // kv_layer: the layer's index among this rank's layers of the group.
  void add_into(TensorView hidden, TensorView x, TensorView inv_freq, int64_t kv_layer, StepContext& context) const;
};

}  // namespace trireme
