#pragma once
// rope_append as the ops it stands for, one after the other: what defines its result.

#include "kernels/norm.h"
#include "kernels/qkv_heads.h"
#include "kernels/rope.h"
#include "kernels/rope_append.h"

namespace trireme {

inline void append_stepwise(TensorView qkv, TensorView kv, const RopeAppendOptions& options,
                            const AttentionBatch& batch, const Stream& stream) {
  const QkvHeads heads(qkv, kv.dim(2), kv.dim(4));
  if (!options.q_norm.empty()) {
    head_rms_norm(heads.q, options.q_norm, options.norm_eps, stream);
    head_rms_norm(heads.k, options.k_norm, options.norm_eps, stream);
  }
  if (!options.inv_freq.empty()) {
    const auto turn = options.interleaved ? rope_interleaved : rope;
    turn(heads.q, batch.positions, options.inv_freq, options.scale, stream);
    turn(heads.k, batch.positions, options.inv_freq, options.scale, stream);
  }
  kv_append(kv, heads.k, heads.v, batch, stream);
}

}  // namespace trireme
