#include "kernels/rope_append.h"

#include "kernels/norm.h"
#include "kernels/qkv_heads.h"
#include "kernels/rope.h"

namespace trireme::cpu {

// One op after the other: the order that every result on the CPU is defined by.
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  const QkvHeads heads(qkv, kv.dim(2), kv.dim(4));
  if (!options.q_norm.empty()) {
    trireme::head_rms_norm(heads.q, options.q_norm, options.norm_eps, stream);
    trireme::head_rms_norm(heads.k, options.k_norm, options.norm_eps, stream);
  }
  if (!options.inv_freq.empty()) {
    const auto rotate = options.interleaved ? trireme::rope_interleaved : trireme::rope;
    rotate(heads.q, batch.positions, options.inv_freq, options.scale, stream);
    rotate(heads.k, batch.positions, options.inv_freq, options.scale, stream);
  }
  trireme::kv_append(kv, heads.k, heads.v, batch, stream);
}

}  // namespace trireme::cpu
