#include "kernels/append_stepwise.h"

namespace trireme::cpu {

void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream);

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  append_stepwise(qkv, kv, options, batch, stream);
}

void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream) {
  cpu::rope_append(qkv, kv, append, batch, stream);
  cpu::paged_attention(out, QkvHeads(qkv, kv.dim(2), kv.dim(4)).q, kv, batch, options, stream);
}

}  // namespace trireme::cpu
