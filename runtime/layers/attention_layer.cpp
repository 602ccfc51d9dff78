#include "runtime/layers/attention_layer.h"

namespace trireme {

void AttentionLayer::add_into(TensorView hidden, TensorView x, TensorView inv_freq, int64_t kv_layer,
                              StepContext& context) const {
  WorkspaceScope scope(context.workspace);
  const int64_t tokens = x.dim(0), q_heads = shape.heads.q.size(), kv_heads = shape.heads.kv.size(),
                dim = shape.head_dim;
  const TensorView fused = qkv.forward(x, context);
  const TensorView q = fused.slice(1, 0, q_heads * dim).reshape({tokens, q_heads, dim});
  const TensorView k = fused.slice(1, q_heads * dim, (q_heads + kv_heads) * dim).reshape({tokens, kv_heads, dim});
  const TensorView v =
      fused.slice(1, (q_heads + kv_heads) * dim, shape.qkv_features()).reshape({tokens, kv_heads, dim});

  const AttentionBatch& batch = context.batches[size_t(shape.group)];
  if (!inv_freq.empty()) {
    rope(q, batch.positions, inv_freq, 1.0f, context.stream);
    rope(k, batch.positions, inv_freq, 1.0f, context.stream);
  }
  const TensorView cache = context.kv_pool.layer(shape.group, kv_layer);
  kv_append(cache, k, v, batch, context.stream);
  const TensorView heads_out = context.workspace.take(activation_dtype(context.device), {tokens, q_heads, dim});
  paged_attention(heads_out, q, cache, batch, shape.options, context.stream);
  output.add_into(hidden, heads_out.reshape({tokens, q_heads * dim}), context);
}

}  // namespace trireme
