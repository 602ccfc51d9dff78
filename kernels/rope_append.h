#pragma once
#include "kernels/attention.h"

namespace trireme {

struct RopeAppendOptions {
  TensorView q_norm, k_norm;  // [head_dim] f32, head_rms_norm of q and k first; both empty: none
  float norm_eps = 0;
  TensorView inv_freq;        // [rotary / 2] f32; empty: no rotary embedding
  float scale = 1;            // of cos and sin
  bool interleaved = false;   // rope_interleaved rather than rope
};

// All that happens between the fused projection and attention: head_rms_norm and rope on q (in place) and k, then
// kv_append of k and v, with the roundings of those ops one after the other. k and v within qkv are undefined
// afterwards, as is q of tokens without a slot.
// qkv: [T, (q_heads + 2 kv_heads) * head_dim] activation dtype, token stride free: q heads, k heads, v heads.
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);

// rope_append, then paged_attention of its q, to the same bits; what that leaves in qkv is undefined. One launch on
// cuda where every row is one token.   out: [T, q_heads, head_dim], as in paged_attention.
void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream);

}  // namespace trireme
