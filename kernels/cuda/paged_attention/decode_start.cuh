#pragma once
// How a decode block begins, as far as it can before the kernel ahead has ended. That one and what ran beside it write
// the step's queries and its tokens' own keys and values, nothing else of what is read here: the work list comes by
// copies; positions, block tables and the keys of earlier steps were there before the step's first layer.

#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// What the work list says of item `index`; false where it is spare. first_position is set where a window asks for it;
// key_end is as planned.
__device__ inline bool take_decode_item(AttentionTile& tile, const AttentionArgs& args, int index, int kv_head) {
  if (index >= __ldcg(args.num_items)) {
    if (blockIdx.x == 0) wait_for_previous_kernel();  // one block in any case: grids end in order
    return false;
  }
  const int4* item = reinterpret_cast<const int4*>(args.items + index);
  const int4 rows = __ldcg(item), keys = __ldcg(item + 1);
  if (rows.y == rows.z) return false;  // fills a group up
  tile.first_token = rows.x, tile.first_packed = rows.y, tile.packed_end = rows.z, tile.slot = rows.w;
  tile.kv_head = kv_head;
  tile.partial = keys.z, tile.split = keys.w & 0xffff, tile.num_splits = keys.w >> 16 & (kGroupedSplits - 1);
  tile.grouped = (keys.w >> 16 & kGroupedSplits) != 0;
  tile.key_begin = tile.split > 0 ? keys.x : 0, tile.key_end = keys.y;
  if (tile.split == 0 && args.window > 0) {
    tile.first_position = args.positions[tile.first_token];
    tile.key_begin = max(0, tile.position_of(tile.first_packed, args.group) - args.window + 1);
  }
  return true;
}

// Positions on the device may lie below those the list was made for: keys are clipped to what exists.
__device__ inline void clip_to_position(AttentionTile& tile, const AttentionArgs& args) {
  tile.first_position = args.positions[tile.first_token];
  tile.key_end = min(tile.key_end, tile.position_of(tile.packed_end - 1, args.group) + 1);
}

// The query rows of a tile, zeros where there is no row. By plain loads: copy groups are the rings'.
template <int kDim>
__device__ inline void read_queries(bf16* queries, const AttentionArgs& args, const AttentionTile& tile) {
  using Rows = TileRows<kDim>;
  constexpr int kPieces = kDecodeTileRows * Rows::kPieces;
#pragma unroll
  for (int first = 0; first < kPieces; first += kAttentionThreads) {
    const int i = first + int(threadIdx.x);
    if (i >= kPieces) break;
    const int row = i / Rows::kPieces, column = i % Rows::kPieces * 8, packed = tile.first_packed + row;
    uint4 bits = make_uint4(0, 0, 0, 0);
    if (packed < tile.packed_end && column < args.head_dim) {
      const bf16* from = args.q + int64_t(tile.first_token + packed / args.group) * args.q_stride +
                         int64_t(tile.kv_head * args.group + packed % args.group) * args.head_dim + column;
      bits = args.wide_queries ? *reinterpret_cast<const uint4*>(from) : gather_8(from);
    }
    *reinterpret_cast<uint4*>(queries + row * Rows::kStride + column) = bits;
  }
}

// What append_token does not write of the queries, and the token's cosines and sines.
template <int kDim>
__device__ inline void prepare_append(bf16* queries, float* tables, const AttentionArgs& args,
                                      const AttentionTile& tile) {
  constexpr int kPieces = kDecodeTileRows * TileRows<kDim>::kStride / 8;
  for (int i = int(threadIdx.x); i < kPieces; i += kAttentionThreads)
    reinterpret_cast<uint4*>(queries)[i] = make_uint4(0, 0, 0, 0);
  const RotaryHeadArgs& rotary = args.append.rotary;
  make_rotary_tables(tables, tables + rotary.half, float(tile.first_position), rotary.inv_freq, rotary.scale,
                     rotary.half);
}

// The tile's heads, normed and rotated: its q into `queries`, and where the block's keys end with the token itself, its
// k and v into the cache and to their copies, where those are given. A warp per head.
template <int kDim>
struct TokenAppend {
  const AttentionArgs& args;
  const AttentionTile& tile;
  bf16* queries;
  bf16 *key_copy, *value_copy;
  const float *cosines, *sines;
  uint32_t place;  // of the token's key, kNoKey where it is not the block's

  // Before the kernel ahead has ended.
  __device__ TokenAppend(const AttentionArgs& a, const AttentionTile& t, bf16* q, bf16* key, bf16* value,
                         const float* tables)
      : args(a),
        tile(t),
        queries(q),
        key_copy(key),
        value_copy(value),
        cosines(tables),
        sines(tables + a.append.rotary.half),
        place(key_place<bf16>(a, t, t.first_position)) {}

  // q heads, then the key, then the value.
  __device__ const bf16* source(int j) const {
    const int group = args.group, heads = group * args.kv_heads;
    const int head = j < group ? tile.kv_head * group + j : heads + (j - group) * args.kv_heads + tile.kv_head;
    return args.q + tile.first_token * args.q_stride + head * args.head_dim;
  }
  __device__ void finish(const RotaryHead& head, int j) const {
    const RotaryHeadArgs& rotary = args.append.rotary;
    if (j < args.group)
      return head.finish(rotary, source(j), queries + j * TileRows<kDim>::kStride, nullptr, HeadKind::query, cosines,
                         sines);
    const int part = j - args.group;  // 0: key, 1: value
    bf16* cached = args.append.kv + tile.kv_head * args.head_stride + part * args.value_offset +
                   int64_t(place) * TileRows<kDim>::kPieceElements;
    head.finish(rotary, source(j), cached, part ? value_copy : key_copy, part ? HeadKind::value : HeadKind::key,
                cosines, sines);
  }
  // Two heads at a time: their reads are one latency.
  __device__ void run(int warp) const {
    const int heads = args.group + (place != kNoKey ? 2 : 0);
    for (int j = warp; j < heads; j += 2 * kAttentionWarps) {
      const int other = j + kAttentionWarps;
      RotaryHead first(args.append.rotary), second(args.append.rotary);
      first.load(args.append.rotary, source(j));
      if (other < heads) second.load(args.append.rotary, source(other));
      finish(first, j);
      if (other < heads) finish(second, other);
    }
  }
};

}  // namespace trireme::cuda
