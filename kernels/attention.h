#pragma once
// Attention over a paged KV cache. One layer's cache of one KV group on this rank:
//   kv: [num_blocks, 2, kv_heads, block_size, head_dim] activation dtype (0 = K, 1 = V), so that one head's K of
//   one block is one contiguous piece.
// Block tables are device state per slot: block_table[slot, i] = block id of positions [i*block_size, ...).

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/attention_plan.h"

namespace trireme {

// The items of one class of a step's work list (kernels/attention_plan.h) on the device. `items` has room for as many
// as the launch shall cover, the first `count` of them are worked on; empty: there are none, and no launch.
// Written by copies only, never by a kernel: attention reads them before the kernels ahead of it have finished.
struct AttentionWork {
  TensorView items;                       // [capacity, kAttentionWorkStride] i32
  TensorView count;                       // [1] i32
  int32_t tile_rows = kDecodeTileRows;    // as planned
};

// One step's tokens, as resolved on the device (kernels/step.h). T tokens in R rows; a row is a run of
// consecutive positions of one slot. Attention reads positions, block_table and the keys and values before a row's first
// position while the kernels just ahead of it still run: nothing writes those between resolve_tokens and the step's end,
// and no row reads what another row of the step appends.
struct AttentionBatch {
  TensorView positions;     // [T] i32
  TensorView token_slots;   // [T] i32    slot of each token; -1: padding, for which nothing is appended
  TensorView row_begin;     // [R + 1] i32  first token of each row
  TensorView row_slots;     // [R] i32
  TensorView block_table;   // [slots, max_blocks] i32
  int64_t num_tokens = 0;
  int64_t num_rows = 0;
  int32_t max_row_tokens = 0;   // an upper bound known to the host
  AttentionWork decode_work = {}, prefill_work = {};  // cuda: of this KV group's window, shared by its layers
};

// AttentionPlanOptions::num_processors of a device; 0 where attention needs no work list (cpu).
int32_t attention_processors(Device device);
// AttentionPlanOptions::warpgroup_tiles of a device and a cache.
bool attention_has_warpgroup_tiles(Device device, int64_t head_dim, int64_t block_size);

// Writes k and v of the step's tokens into their blocks.   k, v: [T, kv_heads, head_dim], token stride free.
void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream& stream);

struct AttentionOptions {
  float scale = 1;          // > 0, multiplies q.k
  int32_t window = 0;       // > 0: a query at p sees positions > p - window
  float soft_cap = 0;       // > 0: scores <- cap * tanh(scores / cap)
};

// out[t, h, :] = sum_j softmax_j(scale q[t, h].k[j, h']) v[j, h'] over positions j <= positions[t] of the token's slot;
// h' = h / (q_heads / kv_heads). The tokens' own k and v are in the cache already (kv_append first).
// q, out: [T, q_heads, head_dim], token stride free. q_heads is a multiple of kv_heads. head_dim <= 256, on cuda a multiple of 8.
// The tokens of batch rows only: `out` of others stays. On cuda the batch carries the work list that was made for these
// rows with this window and these head counts; two calls with the same list and inputs give the same bits.
// CPU order: chunks of 64 positions from position 0 on, in ascending order, whatever the batch or chunking was.
void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream);

// kv[:, pairs[i].destination] = kv[:, pairs[i].source], in order.  pairs: [n, 2] i32 (source, destination) on the device.
// No block is both a source after having been a destination in one call.
void copy_blocks(TensorView kv, TensorView pairs, const Stream& stream);

}  // namespace trireme
