#pragma once
// EXPERIMENT: decode tiles of one-token rows, groups of at most four: a warp per KV head, the four of a block side by side.

#include "kernels/cuda/paged_attention/decode_bulk.cuh"

namespace trireme::cuda {

template <int kDim, int kBlocks>
struct HeadsShared {
  using Bulk = BulkShared<kDim, kBlocks>;
  static constexpr int kRows = kDecodeTileRows + 1;  // queries of four heads, and a row of zeros
  static constexpr int kQueries = Bulk::kRings;
  static constexpr int kTokens = kQueries + kRows * TileRows<kDim>::kStride * int(sizeof(bf16));
  static constexpr int kTables = kTokens + kAttentionWarps * 2 * kDim * int(sizeof(bf16));
  static constexpr int kBarriers = kTables + kDim * int(sizeof(float));
  static constexpr int kBytes = kBarriers + kAttentionWarps * Bulk::kUnits * 8;
};

struct OneWarp {
  static constexpr int kThreads = kWarpSize;
  __device__ static int thread() { return int(threadIdx.x) % kWarpSize; }
  __device__ static void sync() { __syncwarp(); }
};

#if __CUDA_ARCH__ >= 900

template <int kDim>
__device__ inline void append_heads(const BulkAppend<kDim>& append) {
  const AttentionArgs& args = append.args;
  const int heads = args.group + (append.place != kNoKey ? 2 : 0);
  for (int j = 0; j < heads; j += 3) {
    RotaryHead first(args.append.rotary), second(args.append.rotary), third(args.append.rotary);
    first.load(args.append.rotary, append.source(j));
    if (j + 1 < heads) second.load(args.append.rotary, append.source(j + 1));
    if (j + 2 < heads) third.load(args.append.rotary, append.source(j + 2));
    append.finish(first, j);
    if (j + 1 < heads) append.finish(second, j + 1);
    if (j + 2 < heads) append.finish(third, j + 2);
  }
}

template <int kDim>
__device__ inline void write_warp(const AttentionArgs& args, const AttentionTile& tile,
                                  const RunningSoftmax<kDim>& state, float* weights, int lane) {
  const int rows = tile.packed_end - tile.first_packed, row = lane / 4;
  if (row < rows) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      write_pair<kDim, kDecodeTileRows>(args, tile, row, n * 8 + lane % 4 * 2, state.output[n][0], state.output[n][1],
                                        state.sum[0]);
    if (lane % 4 == 0) write_state<kDecodeTileRows>(args, tile, row, state.maximum[0], state.sum[0]);
  }
  if (tile.num_splits == 1) return;
  __threadfence();
  __syncwarp();
  unsigned before = 0;
  if (lane == 0)
    before = atomicInc(args.arrivals + int64_t(tile.partial) * args.kv_heads + tile.kv_head, unsigned(tile.num_splits - 1));
  if (__shfl_sync(~0u, before, 0) != unsigned(tile.num_splits - 1)) return;
  __threadfence();
  merge_splits<kDim, kDecodeTileRows, OneWarp>(weights, args, tile);
}

template <int kDim, int kBlocks>
__device__ inline void attend_head(const AttentionArgs& args, const CUtensorMap* map, AttentionTile& tile,
                                   unsigned char* shared, int warp, int lane) {
  using Shared = HeadsShared<kDim, kBlocks>;
  using Bulk = BulkShared<kDim, kBlocks>;
  constexpr int kStride = TileRows<kDim>::kStride, kKeys = Bulk::kKeys;
  bf16* all_queries = reinterpret_cast<bf16*>(shared + Shared::kQueries);
  bf16 *queries = all_queries + warp * args.group * kStride,
       *token = reinterpret_cast<bf16*>(shared + Shared::kTokens) + warp * 2 * kDim;
  float* tables = reinterpret_cast<float*>(shared + Shared::kTables);
  const int first_key = tile.key_begin / kKeys * kKeys;
  BulkRing<kDim, kBlocks, kKeys> ring{args, tile, map,
                                      shared_address(shared) + warp * Bulk::kUnits * Bulk::kUnitBytes,
                                      shared_address(shared) + Shared::kBarriers + warp * Bulk::kUnits * 8,
                                      read_once_policy(args.evict_first), lane, first_key};
  const int32_t block = ring.block_of(lane);
  ring.next_block = ring.block_of(kWarpSize + lane);
  if (lane == 0) {
    for (int u = 0; u < Bulk::kUnits; ++u) init_barrier(ring.barriers + u * 8, 1);
    publish_barriers();
  }
  clip_to_position(tile, args);
  ring.row = ring.row_of(lane, block);
  __syncwarp();
  order_bulk_copies();
  const int old_end = args.append.wanted ? tile.key_end + kKeys : tile.first_position;
#pragma unroll 1
  for (int u = 0; u < Bulk::kUnits && ring.key_of(u / 2) + kKeys <= old_end; ++u) ring.ask();
  for (int i = int(threadIdx.x); i < Shared::kRows * kStride / 8; i += kAttentionThreads)
    reinterpret_cast<uint4*>(all_queries)[i] = make_uint4(0, 0, 0, 0);
  const RotaryHeadArgs& rotary = args.append.rotary;
  if (args.append.wanted)
    make_rotary_tables(tables, tables + rotary.half, float(tile.first_position), rotary.inv_freq, rotary.scale,
                       rotary.half);
  else
    __syncthreads();
  const BulkAppend<kDim> append{args, tile, queries, token, tables, tables + rotary.half,
                                key_place<bf16>(args, tile, tile.first_position)};
  wait_for_previous_kernel();
  let_next_kernel_start();
  stamp(args, 1);
  if (args.append.wanted) {
    append_heads<kDim>(append);
  } else {
    order_bulk_copies();
    for (int i = lane; i < args.group * (kDim / 8); i += kWarpSize)
      *reinterpret_cast<uint4*>(queries + i / (kDim / 8) * kStride + i % (kDim / 8) * 8) =
          *reinterpret_cast<const uint4*>(append.source(i / (kDim / 8)) + i % (kDim / 8) * 8);
  }
#pragma unroll 1
  while (2 * ring.asked_run + (ring.asks_values ? 1 : 0) < Bulk::kUnits) ring.ask();
  __syncwarp();
  QueryFragments<kDim, 1, false> query;
  query.row = (lane % 16 < args.group ? queries + lane % 16 * kStride : all_queries + kDecodeTileRows * kStride) + lane / 16 * 8;
  const DecodeRows rows(tile, args, lane);
  RunningSoftmax<kDim> state;
  for (int key = first_key; key < tile.key_end; key += kKeys) {
    float scores[1][2][4];
    const bool has_token = args.append.wanted && tile.first_position - key < kKeys && append.place != kNoKey &&
                           tile.first_position >= key;
    const uint32_t keys = ring.take(key == first_key);
    if (key == first_key) stamp(args, 2);
    if (has_token) {
      put_row<kDim>(keys, tile.first_position - key, token, lane);
      __syncwarp();
    }
    multiply_unit_scores(scores, query, keys, lane);
    if (args.soft_cap > 0) cap_scores(scores[0], args);
    const bool all_visible = key >= tile.key_begin && key + kKeys - 1 <= rows.lowest && key + kKeys <= tile.key_end &&
                             (args.window == 0 || key > rows.highest - args.window);
    if (!all_visible) mask_scores(scores[0], rows.positions, args.window, key, tile.key_begin, tile.key_end, lane);
    state.update(scores[0], args.exponent_scale);
    const uint32_t values = ring.take(false);
    if (key + kKeys > tile.key_end || has_token) {
      if (key + kKeys > tile.key_end) clear_values<kDim>(values, tile.key_end - key, lane);
      if (has_token) put_row<kDim>(values, tile.first_position - key, token + kDim, lane);
      __syncwarp();
    }
    multiply_unit_values(state, scores, values, lane);
  }
  state.finish(args.exponent_scale);
  stamp(args, 3);
  __syncwarp();
  write_warp<kDim>(args, tile, state,
                   reinterpret_cast<float*>(shared + warp * Bulk::kUnits * Bulk::kUnitBytes), lane);
}

#endif

template <int kDim, int kBlocks>
__global__ __launch_bounds__(kAttentionThreads, kBlocks) void decode_heads_attention_kernel(
    const AttentionArgs args, const __grid_constant__ CUtensorMap map) {
#if __CUDA_ARCH__ >= 900
  stamp(args, 0);
  if (threadIdx.x == 0) fetch_tensor_map(&map);
  extern __shared__ __align__(1024) unsigned char shared_heads[];
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  const int blocks = args.kv_heads / kAttentionWarps;
  AttentionTile tile;
  if (!take_decode_item(tile, args, int(blockIdx.x) / blocks, int(blockIdx.x) % blocks * kAttentionWarps + warp)) return;
  attend_head<kDim, kBlocks>(args, &map, tile, shared_heads, warp, lane);
  stamp(args, 4);
#endif
}

}  // namespace trireme::cuda
