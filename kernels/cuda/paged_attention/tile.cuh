#pragma once
// Which query rows, keys and values a block of paged attention works on, and their way into shared memory.

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/paged_attention/args.h"

namespace trireme::cuda {

inline constexpr int kAttentionWarps = 4;
inline constexpr int kAttentionThreads = kAttentionWarps * kWarpSize;

// Shared memory of one block, in bf16 elements; rows are padded by 16 bytes so that the eight rows of an 8x8
// matrix fall into different banks.
template <int kDim, int kRowWarps>
struct AttentionShared {
  static constexpr int kRows = 16 * kRowWarps;
  static constexpr int kKeys = kDim > 128 && kRowWarps > 1 ? 32 : 64;  // of a tile: one block fits the A100's 163 KB
  static constexpr int kStride = kDim + 8;
  static constexpr int kTile = kKeys * kStride;
  static constexpr int kQuery = kRows * kStride;
  // [Q][K 0][V 0][K 1][V 1]; the warps' results of kRowWarps == 1 later lie over K and V.
  static constexpr size_t kBytes = sizeof(bf16) * (kQuery + 4 * size_t(kTile));
  static_assert(kRowWarps > 1 || sizeof(float) * kAttentionWarps * 16 * kDim <= sizeof(bf16) * 4 * size_t(kTile));
};

// What one block has to do.
struct AttentionTile {
  int first_token;  // of the batch row
  int slot;
  int first_packed;    // of this tile, within the batch row
  int num_packed;      // of the batch row
  int first_position;  // of the batch row's first token
  int kv_head, split;
  int key_begin, key_end;  // positions this block reads

  __device__ int position_of(int packed, int group) const { return first_position + packed / group; }
};

// Tile i of the grid belongs to the last batch row r with first_tile(r) <= i, where first_tile(r) =
// row_begin[r] * group / rows + r leaves at least as many tiles for each row as it can need, without a work
// list: row_begin is only known on the device. False where the tile is spare. It may still have no keys in its split.
template <int kRows>
__device__ inline bool find_tile(AttentionTile& tile, const AttentionArgs& args) {
  const int64_t index = int64_t(gridDim.x) - 1 - blockIdx.x;  // long contexts tend to come last: start with them
  int low = 0, high = args.num_rows - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (int64_t(args.row_begin[middle]) * args.group / kRows + middle <= index)
      low = middle;
    else
      high = middle - 1;
  }
  tile.first_token = args.row_begin[low];
  tile.num_packed = (args.row_begin[low + 1] - tile.first_token) * args.group;
  tile.first_packed = int(index - (int64_t(tile.first_token) * args.group / kRows + low)) * kRows;
  if (tile.first_packed >= tile.num_packed) return false;
  tile.slot = args.row_slots[low];
  tile.first_position = args.positions[tile.first_token];
  tile.kv_head = int(blockIdx.y);
  tile.split = int(blockIdx.z);

  const int first = tile.position_of(tile.first_packed, args.group);
  const int last = tile.position_of(min(tile.first_packed + kRows, tile.num_packed) - 1, args.group);
  tile.key_begin = max(tile.split * args.split_keys, args.window > 0 ? max(0, first - args.window + 1) : 0);
  tile.key_end = tile.split + 1 < args.num_splits ? min(last + 1, (tile.split + 1) * args.split_keys) : last + 1;
  return true;
}

// Element offset of `key` of this slot within the cache (its K; V lies value_offset further), -1 outside the range.
__device__ inline int64_t key_offset(const AttentionArgs& args, const AttentionTile& tile, int key) {
  if (key < tile.key_begin || key >= tile.key_end) return -1;
  const int block = args.block_table[int64_t(tile.slot) * args.table_stride + key / args.block_size];
  return int64_t(block) * args.block_stride + tile.kv_head * args.head_stride +
         int64_t(key % args.block_size) * args.head_dim;
}

// K and V of kKeys keys into shared memory, in the background; zeros for keys and dimensions that do not exist,
// so that a probability of zero never meets a NaN.
template <int kDim, int kKeys>
__device__ inline void load_keys_async(bf16* keys, bf16* values, const int64_t* offsets, const AttentionArgs& args) {
  constexpr int kPieces = kDim / 8, kStride = kDim + 8;
  for (int i = int(threadIdx.x); i < kKeys * kPieces; i += kAttentionThreads) {
    const int key = i / kPieces, column = i % kPieces * 8;
    const int64_t offset = offsets[key];
    const bool valid = offset >= 0 && column < args.head_dim;
    const bf16* from = args.kv + (valid ? offset + column : 0);
    copy_16_async(keys + key * kStride + column, from, valid);
    copy_16_async(values + key * kStride + column, from + (valid ? args.value_offset : 0), valid);
  }
}

template <int kDim, int kRows>
__device__ inline void load_queries(bf16* queries, const AttentionArgs& args, const AttentionTile& tile) {
  constexpr int kPieces = kDim / 8, kStride = kDim + 8;
  for (int i = int(threadIdx.x); i < kRows * kPieces; i += kAttentionThreads) {
    const int row = i / kPieces, column = i % kPieces * 8, packed = tile.first_packed + row;
    uint4 bits = make_uint4(0, 0, 0, 0);
    if (packed < tile.num_packed && column < args.head_dim) {
      const bf16* from = args.q + int64_t(tile.first_token + packed / args.group) * args.q_stride +
                         int64_t(tile.kv_head * args.group + packed % args.group) * args.head_dim + column;
      if (args.wide_queries) {
        bits = *reinterpret_cast<const uint4*>(from);
      } else {
        const auto* raw = reinterpret_cast<const uint16_t*>(from);
        bits = make_uint4(raw[0] | uint32_t(raw[1]) << 16, raw[2] | uint32_t(raw[3]) << 16,
                          raw[4] | uint32_t(raw[5]) << 16, raw[6] | uint32_t(raw[7]) << 16);
      }
    }
    *reinterpret_cast<uint4*>(queries + row * kStride + column) = bits;
  }
}

}  // namespace trireme::cuda
