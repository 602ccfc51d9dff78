#include "runtime/layers/attention_layer.h"

#include "kernels/qkv_heads.h"
#include "kernels/rope_append.h"

namespace trireme {

// The sums of squares of all heads of all ranks, column by column, so that every rank adds the same numbers in the same
// order. Of a KV head that several ranks hold, the first of them speaks.
void AttentionLayer::normalize_projections(TensorView q, TensorView k, StepContext& context) const {
  WorkspaceScope scope(context.workspace);
  const HeadShard& heads = shape.heads;
  const int64_t tokens = q.dim(0), q_total = shape.total_q_heads, kv_total = shape.total_kv_heads;
  const TensorView sums = context.workspace.take(square_sum_dtype(context.device), {tokens, q_total + kv_total});
  fill_zero_async(sums.data(), size_t(sums.bytes()), context.device, context.stream);
  head_square_sums(sums.slice(1, heads.q.begin, heads.q.end), q, context.stream);
  if (heads.q.begin == heads.kv.begin * (q_total / kv_total))
    head_square_sums(sums.slice(1, q_total + heads.kv.begin, q_total + heads.kv.end), k, context.stream);
  context.tp_group.all_reduce_sum(sums, context.stream);
  rms_norm_by_sums(q.reshape({tokens, q.dim(1) * q.dim(2)}), sums.slice(1, 0, q_total), q_total * shape.head_dim,
                   q_norm, norm_eps, context.stream);
  rms_norm_by_sums(k.reshape({tokens, k.dim(1) * k.dim(2)}), sums.slice(1, q_total, q_total + kv_total),
                   kv_total * shape.head_dim, k_norm, norm_eps, context.stream);
}

void AttentionLayer::attend(TensorView out, TensorView fused, TensorView cache, const RotaryEmbedding& rotary,
                            StepContext& context) const {
  const AttentionBatch& batch = context.batches[size_t(shape.group)];
  if (qk_norm == QkNorm::projection) {
    const QkvHeads heads(fused, shape.heads.kv.size(), shape.head_dim);
    normalize_projections(heads.q, heads.k, context);
  }
  RopeAppendOptions append{.q_norm = {},
                           .k_norm = {},
                           .norm_eps = norm_eps,
                           .inv_freq = rotary.inv_freq,
                           .scale = rotary.scale,
                           .interleaved = rotary.interleaved};
  if (qk_norm == QkNorm::head) append.q_norm = q_norm, append.k_norm = k_norm;
  rope_append_attention(out, fused, cache, append, shape.options, batch, context.stream);
}

void AttentionLayer::add_into(Residual& residual, const LayerInput& input, const RotaryEmbedding& rotary,
                              int64_t kv_layer, StepContext& context) const {
  WorkspaceScope scope(context.workspace);
  const int64_t tokens = residual.tokens(), q_heads = shape.heads.q.size(), dim = shape.head_dim;
  const TensorView fused = qkv.forward(input, context), cache = context.kv_pool.layer(shape.group, kv_layer);
  const TensorView heads_out = context.workspace.take(activation_dtype(context.device), {tokens, q_heads, dim});
  attend(heads_out, fused, cache, rotary, context);
  output.add_into(residual, heads_out.reshape({tokens, q_heads * dim}));
}

}  // namespace trireme
