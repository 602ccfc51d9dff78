#pragma once
// Paged attention on tensor cores: mma.sync m16n8k16, float32 softmax, cp.async double buffering (sm_80 and later).
//
// The query rows of one KV head are packed: packed row p of a batch row is its token p / group and query head
// kv_head * group + p % group, so that a decoded token's whole group shares one tile and its K and V are read once.
// A block does one tile of packed rows x one KV head x one split of the context:
//   kRowWarps == 4   64 packed rows, 16 per warp, every warp sees all keys (prefill);
//   kRowWarps == 1   16 packed rows, the four warps share the keys and add up at the end (decode).
// With one split it writes `out`, else an unnormalized partial per split that merge_splits_kernel adds in order.

#include "kernels/cuda/paged_attention/output.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// One warp's part: its 16 rows of the tile and its keys of every key tile.
struct AttentionWarp {
  int lane, row_warp, key_warp;
  int positions[2];     // of the lane's two rows, -1 where there is no such row
  int lowest, highest;  // positions of the whole tile's rows
  bool has_rows;

  template <int kRows>
  __device__ void assign(const AttentionTile& tile, const AttentionArgs& args, int warp) {
    lane = int(threadIdx.x) % kWarpSize;
    row_warp = kRows == 16 ? 0 : warp;
    key_warp = kRows == 16 ? warp : 0;
    for (int r = 0; r < 2; ++r) {
      const int packed = tile.first_packed + row_warp * 16 + lane / 4 + r * 8;
      positions[r] = packed < tile.num_packed ? tile.position_of(packed, args.group) : -1;
    }
    lowest = tile.position_of(tile.first_packed, args.group);
    highest = tile.position_of(min(tile.first_packed + kRows, tile.num_packed) - 1, args.group);
    has_rows = tile.first_packed + row_warp * 16 < tile.num_packed;
  }
};

// Takes the keys from first_key on, which lie in `keys` with their values behind, into the warp's running softmax.
template <int kDim, int kRowWarps>
__device__ inline void attend_tile(RunningSoftmax<kDim>& state, const AttentionWarp& warp, const AttentionArgs& args,
                                   const AttentionTile& tile, const bf16* queries, const bf16* keys, int first_key) {
  using Shared = AttentionShared<kDim, kRowWarps>;
  constexpr int kKeys = Shared::kKeys, kWarpKeys = kRowWarps == 1 ? kKeys / kAttentionWarps : kKeys;
  const bool all_visible = first_key >= tile.key_begin && first_key + kKeys - 1 <= warp.lowest &&
                           (args.window == 0 || first_key > warp.highest - args.window);
  const int warp_key = warp.key_warp * kWarpKeys;
  const bf16* warp_keys = keys + warp_key * Shared::kStride;
  const bf16* warp_queries = queries + warp.row_warp * 16 * Shared::kStride;
  float scores[kWarpKeys / 8][4] = {};
  multiply_scores<kDim, kWarpKeys>(scores, warp_queries, warp_keys, warp.lane);
  scale_and_mask(scores, args, warp.positions, first_key + warp_key, warp.lane, all_visible);
  state.update(scores);
  multiply_values<kDim, kWarpKeys>(state.output, scores, warp_keys + Shared::kTile, warp.lane);
}

// All keys of the block, a tile at a time, the next one on its way while this one is used.
template <int kDim, int kRowWarps>
__device__ inline void attend(RunningSoftmax<kDim>& state, const AttentionWarp& warp, const AttentionArgs& args,
                              const AttentionTile& tile, bf16* queries, bf16* tiles) {
  using Shared = AttentionShared<kDim, kRowWarps>;
  constexpr int kKeys = Shared::kKeys;
  __shared__ int64_t offsets[2][kKeys];
  const int thread = int(threadIdx.x);
  int first_key = tile.key_begin / kKeys * kKeys;
  if (thread < kKeys) offsets[0][thread] = key_offset(args, tile, first_key + thread);
  load_queries<kDim, Shared::kRows>(queries, args, tile);
  __syncthreads();
  load_keys_async<kDim, kKeys>(tiles, tiles + Shared::kTile, offsets[0], args);
  int64_t next_offset = thread < kKeys ? key_offset(args, tile, first_key + kKeys + thread) : -1;

  // One barrier per tile: it publishes this tile's bytes and the next tile's offsets, and says that nobody reads the
  // buffers of the tile before any more.
  for (int stage = 0; first_key < tile.key_end; stage ^= 1, first_key += kKeys) {
    if (thread < kKeys) offsets[stage ^ 1][thread] = next_offset;
    wait_for_copies();
    __syncthreads();
    if (first_key + kKeys < tile.key_end) {
      bf16* next = tiles + (stage ^ 1) * 2 * Shared::kTile;
      load_keys_async<kDim, kKeys>(next, next + Shared::kTile, offsets[stage ^ 1], args);
      if (thread < kKeys) next_offset = key_offset(args, tile, first_key + 2 * kKeys + thread);
    }
    const bf16* keys = tiles + stage * 2 * Shared::kTile;
    if (warp.has_rows) attend_tile<kDim, kRowWarps>(state, warp, args, tile, queries, keys, first_key);
  }
}

template <int kDim, int kRowWarps>
__global__ __launch_bounds__(kAttentionThreads) void paged_attention_kernel(const AttentionArgs args) {
  using Shared = AttentionShared<kDim, kRowWarps>;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  bf16* queries = reinterpret_cast<bf16*>(shared_bytes);
  bf16* tiles = queries + Shared::kQuery;
  AttentionTile tile;
  if (!find_tile<Shared::kRows>(tile, args)) return;
  const int warp_index = int(threadIdx.x) / kWarpSize;
  AttentionWarp warp;
  warp.assign<Shared::kRows>(tile, args, warp_index);

  RunningSoftmax<kDim> state;
  if (tile.key_begin < tile.key_end) attend<kDim, kRowWarps>(state, warp, args, tile, queries, tiles);
  state.finish();
  if constexpr (kRowWarps == 1) {
    __syncthreads();  // the results take the place of K and V
    write_merged<kDim>(args, tile, state, reinterpret_cast<float*>(tiles), warp_index, warp.lane);
  } else {
    write_rows<kDim>(args, tile, state, warp_index, warp.lane);
  }
}

template <int kDim, int kRowWarps>
void launch_attention_tiles(const AttentionArgs& args, const Stream& stream) {
  using Shared = AttentionShared<kDim, kRowWarps>;
  constexpr auto kernel = paged_attention_kernel<kDim, kRowWarps>;
  // A property of the function, not of the stream; its cost is that of reading a flag.
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(Shared::kBytes)));
  const dim3 grid(grid_size(args.tiles), grid_size(args.kv_heads, kMaxGridY), grid_size(args.num_splits, kMaxGridY));
  kernel<<<grid, kAttentionThreads, Shared::kBytes, stream.get()>>>(args);
  check_launch();
}

template <int kDim>
void launch_attention(const AttentionArgs& args, const Stream& stream) {
  if (args.tile_rows == kDecodeRows)
    launch_attention_tiles<kDim, 1>(args, stream);
  else
    launch_attention_tiles<kDim, 4>(args, stream);
}

}  // namespace trireme::cuda
