#pragma once
#include "base/tensor.h"

namespace trireme {

// The parts of a fused projection, each [T, heads, head_dim].   qkv: [T, (q_heads + 2 kv_heads) * head_dim].
struct QkvHeads {
  TensorView q, k, v;
  QkvHeads(TensorView qkv, int64_t kv_heads, int64_t head_dim) {
    const int64_t tokens = qkv.dim(0), kv = kv_heads * head_dim, q_end = qkv.dim(1) - 2 * kv;
    q = qkv.slice(1, 0, q_end).reshape({tokens, q_end / head_dim, head_dim});
    k = qkv.slice(1, q_end, q_end + kv).reshape({tokens, kv_heads, head_dim});
    v = qkv.slice(1, q_end + kv, q_end + 2 * kv).reshape({tokens, kv_heads, head_dim});
  }
};

}  // namespace trireme
