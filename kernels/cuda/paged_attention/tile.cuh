#pragma once
// Which query rows, keys and values a block of paged attention works on, and their way into shared memory.

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/paged_attention/args.h"

namespace trireme::cuda {

inline constexpr int kAttentionWarps = 4;
inline constexpr int kAttentionThreads = kAttentionWarps * kWarpSize;

// Rows of a tile in shared memory, padded by 16 bytes so that the eight rows of an 8x8 matrix fall into different
// banks. Element: as the cache stores it.
template <int kDim, typename Element = bf16>
struct TileRows {
  static constexpr int kPieceElements = 16 / int(sizeof(Element));
  static constexpr int kPieces = kDim / kPieceElements;  // of 16 bytes, per row
  static constexpr int kStride = kDim + kPieceElements;  // elements
};

// What one block has to do.
struct AttentionTile {
  int first_token;               // of the batch row
  int first_packed, packed_end;  // of this tile, within the batch row
  int first_position;            // of the batch row's first token
  int kv_head, slot;
  int partial, split, num_splits;
  bool grouped;            // of a decode tile: its splits may be one cluster
  int key_begin, key_end;  // positions this block reads

  __device__ int position_of(int packed, int group) const { return first_position + packed / group; }

  // Of an item's two halves. Positions on the device may lie below those the list was made for: the keys are clipped to
  // what exists, and the first split begins where the window truly does.
  __device__ void set(const int4& rows, const int4& keys, int head, const AttentionArgs& args) {
    first_token = rows.x;
    first_packed = rows.y;
    packed_end = rows.z;
    slot = rows.w;
    kv_head = head;
    partial = keys.z;
    split = keys.w & 0xffff;
    num_splits = keys.w >> 16;
    first_position = args.positions[first_token];
    const int first = position_of(first_packed, args.group), last = position_of(packed_end - 1, args.group);
    key_begin = split > 0 ? keys.x : args.window > 0 ? max(0, first - args.window + 1) : 0;
    key_end = min(keys.y, last + 1);
  }
};

__device__ inline AttentionTile tile_of(const AttentionArgs& args, int item, int kv_head) {
  const int4* at = reinterpret_cast<const int4*>(args.items + item);
  AttentionTile tile;
  tile.set(__ldcg(at), __ldcg(at + 1), kv_head, args);
  return tile;
}

// False where the block is spare.
__device__ inline bool take_item(AttentionTile& tile, const AttentionArgs& args) {
  const int index = int(blockIdx.x) / args.kv_heads;
  const bool spare = index >= __ldcg(args.num_items);
  if (spare && blockIdx.x > 0) return false;  // block 0 waits in any case: grids end in order
  const int4* item = reinterpret_cast<const int4*>(args.items + (spare ? 0 : index));
  const int4 rows = __ldcg(item), keys = __ldcg(item + 1);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (spare) return false;
  tile.set(rows, keys, int(blockIdx.x) % args.kv_heads, args);
  return true;
}

// Where a key of this slot lies in the cache, in units of 16 bytes from the KV head's first K; kNoKey outside the
// block's range.
inline constexpr uint32_t kNoKey = 0xffffffffu;
__device__ inline int32_t table_entry(const AttentionArgs& args, const AttentionTile& tile, int key) {
  return args.block_table[int64_t(tile.slot) * args.table_stride + key / args.block_size];
}
// block: the key's table entry.
template <typename Element>
__device__ inline uint32_t place_in(const AttentionArgs& args, const AttentionTile& tile, int key, int32_t block) {
  constexpr int kPieceElements = 16 / int(sizeof(Element));
  if (key < tile.key_begin || key >= tile.key_end) return kNoKey;
  return uint32_t((int64_t(block) * args.block_stride + int64_t(key % args.block_size) * args.head_dim) /
                  kPieceElements);
}
template <typename Element>
__device__ inline uint32_t key_place(const AttentionArgs& args, const AttentionTile& tile, int key) {
  if (key < tile.key_begin || key >= tile.key_end) return kNoKey;
  return place_in<Element>(args, tile, key, table_entry(args, tile, key));
}

// Eight elements that may lie anywhere.
__device__ inline uint4 gather_8(const bf16* from) {
  const auto* raw = reinterpret_cast<const uint16_t*>(from);
  return make_uint4(raw[0] | uint32_t(raw[1]) << 16, raw[2] | uint32_t(raw[3]) << 16, raw[4] | uint32_t(raw[5]) << 16,
                    raw[6] | uint32_t(raw[7]) << 16);
}

// The query rows of a tile into shared memory, by cp.async where rows are wide; zeros where there is no row.
template <int kDim, int kRows>
__device__ inline void load_queries(bf16* queries, const AttentionArgs& args, const AttentionTile& tile) {
  using Rows = TileRows<kDim>;
  for (int i = int(threadIdx.x); i < kRows * Rows::kPieces; i += kAttentionThreads) {
    const int row = i / Rows::kPieces, column = i % Rows::kPieces * 8, packed = tile.first_packed + row;
    const bool valid = packed < tile.packed_end && column < args.head_dim;
    const bf16* from = args.q;
    if (valid)
      from += int64_t(tile.first_token + packed / args.group) * args.q_stride +
              int64_t(tile.kv_head * args.group + packed % args.group) * args.head_dim + column;
    bf16* to = queries + row * Rows::kStride + column;
    if (args.wide_queries) {
      copy_16_async(to, from, valid);
    } else {
      *reinterpret_cast<uint4*>(to) = valid ? gather_8(from) : make_uint4(0, 0, 0, 0);
    }
  }
}

}  // namespace trireme::cuda
