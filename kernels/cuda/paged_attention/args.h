#pragma once
// What paged_attention hands to its kernels.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "base/stream.h"
#include "kernels/attention_plan.h"
#include "kernels/cuda/common/rotary_head.cuh"

namespace trireme::cuda {

// Of a step whose rows are one token each: decode tiles append it themselves. q is as the projection left it, the
// token's k and v heads lie behind its q heads.
struct AppendArgs {
  bool wanted;
  RotaryHeadArgs rotary;
  __nv_bfloat16* kv;
};

struct AttentionArgs {
  AppendArgs append;
  __nv_bfloat16* out;  // [T, q_heads, head_dim]
  const __nv_bfloat16 *q, *kv;
  // Of packed row r of a tile's split s and a KV head, at ((partial + s) * kv_heads + kv_head) * tile_rows + r:
  float* partial_out;     // [.., kDim], unnormalized
  float2* partial_state;  // maximum (in units of log 2), sum; sum 0: the row saw no key
  unsigned* arrivals;     // [partial * kv_heads + kv_head]: splits of the tile that are done; 0 between launches
  unsigned* next_tile;    // of persistent blocks: beyond the blocks' first ones; 0 between launches
  const AttentionWorkItem* items;
  const int32_t* num_items;
  const int32_t *positions, *block_table;
  int64_t out_stride, q_stride;                     // between tokens
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t table_stride;
  int64_t num_tokens, num_blocks;  // of q and out; of kv
  int kv_heads, group, head_dim, block_size;
  int window;                      // 0: none
  float exponent_scale;            // probabilities are 2^(exponent_scale * score)
  float cap_scale, soft_cap;       // score <- soft_cap * tanh(score * cap_scale); soft_cap 0: none
  int decode_blocks;               // decode_blocks_per_processor
  bool decode_groups;              // groups of the work list run as clusters
  bool decode_bulk;                // the cache may be read by boxes of 16 keys
  bool wide_queries, wide_output;  // q may be read, out written, in pieces larger than an element
};

// Grid: kv_heads blocks for each of `capacity` items. kDim: head_dim rounded up.
template <int kDim>
void launch_attention(const AttentionArgs& args, int tile_rows, int64_t capacity, const Stream& stream);
extern template void launch_attention<64>(const AttentionArgs&, int, int64_t, const Stream&);
extern template void launch_attention<80>(const AttentionArgs&, int, int64_t, const Stream&);
extern template void launch_attention<96>(const AttentionArgs&, int, int64_t, const Stream&);
extern template void launch_attention<128>(const AttentionArgs&, int, int64_t, const Stream&);
extern template void launch_attention<256>(const AttentionArgs&, int, int64_t, const Stream&);

// Prefill tiles of 128 rows by wgmma, for head dimensions 64 and 128 and blocks of a multiple of eight keys.
template <int kDim>
void launch_hopper_prefill(const AttentionArgs& args, int64_t capacity, const Stream& stream);
extern template void launch_hopper_prefill<64>(const AttentionArgs&, int64_t, const Stream&);
extern template void launch_hopper_prefill<128>(const AttentionArgs&, int64_t, const Stream&);

}  // namespace trireme::cuda
