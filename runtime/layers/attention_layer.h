#pragma once
// Attention of one decoder layer on this rank's heads: fused q/k/v, norms of q and k and a rotary embedding where the
// model has them, the paged cache, and the output projection added into the residual stream.

#include "parallel/topology.h"
#include "runtime/layers/parallel_linear.h"
#include "runtime/layers/rotary.h"

namespace trireme {

struct AttentionShape {
  HeadShard heads;                                // this rank's
  int64_t total_q_heads = 0, total_kv_heads = 0;  // the model's
  int64_t head_dim = 0;
  int group = 0;             // KV group
  AttentionOptions options;  // scale, window, soft cap
  int64_t qkv_features() const { return (heads.q.size() + 2 * heads.kv.size()) * head_dim; }
};

enum class QkNorm {
  none,
  head,        // RMSNorm of each head; weights [head_dim]
  projection,  // RMSNorm over all heads together, those of other ranks too; weights: this rank's features
};

struct AttentionLayer {
  AttentionShape shape;
  ColumnParallelLinear qkv;  // rows: q heads, k heads, v heads
  RowParallelLinear output;  // granule: one head
  QkNorm qk_norm = QkNorm::none;
  Tensor q_norm, k_norm;  // f32
  float norm_eps = 0;

  // residual += attention(input).   input: [T, hidden].
  // kv_layer: the layer's index among this rank's layers of the group.
  void add_into(Residual& residual, const LayerInput& input, const RotaryEmbedding& rotary, int64_t kv_layer,
                StepContext& context) const;

 private:
  void attend(TensorView out, TensorView fused, TensorView cache, const RotaryEmbedding& rotary,
              StepContext& context) const;
  void normalize_projections(TensorView q, TensorView k, StepContext& context) const;
};

}  // namespace trireme
