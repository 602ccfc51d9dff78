#pragma once
// What paged_attention hands to its kernels, and the host's choice of tiles and splits.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "base/stream.h"

namespace trireme::cuda {

inline constexpr int kDecodeRows = 16;  // packed query rows (token x query head of a KV head's group) of a tile
inline constexpr int kPrefillRows = 64;

struct AttentionArgs {
  __nv_bfloat16* out;  // [T, q_heads, head_dim]
  const __nv_bfloat16 *q, *kv;
  float* partial_out;     // [T, q_heads, num_splits, head_dim], unnormalized; null with one split
  float2* partial_state;  // [T, q_heads, num_splits]: maximum (in units of log 2), sum
  const int32_t *positions, *row_begin, *row_slots, *block_table;
  int64_t out_stride, q_stride;                     // between tokens
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t table_stride;
  int num_tokens, num_rows, q_heads, kv_heads, group, head_dim, block_size;
  int tile_rows, tiles;            // packed rows per tile; upper bound of the tiles of one KV head
  int num_splits, split_keys;      // split s reads positions [s, s + 1) * split_keys, the last one all the rest
  int window;                      // 0: none
  float scale, soft_cap;           // soft_cap 0: none
  bool wide_queries, wide_output;  // q may be read, out written, in pieces larger than an element
};

template <int kDim>
void launch_attention(const AttentionArgs& args, const Stream& stream);
extern template void launch_attention<64>(const AttentionArgs&, const Stream&);
extern template void launch_attention<128>(const AttentionArgs&, const Stream&);
extern template void launch_attention<256>(const AttentionArgs&, const Stream&);

}  // namespace trireme::cuda
