#pragma once
// Prefill tiles: 64 or 128 packed rows, 16 or 32 per warp; every warp sees all keys, a tile of which is on its way into
// shared memory while the one before is used.

#include "kernels/cuda/paged_attention/output.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

template <int kDim, int kFragments, typename Element>
struct PrefillShared {
  using Rows = TileRows<kDim, Element>;
  static constexpr int kTileRows = 16 * kFragments * kAttentionWarps;
  static constexpr int kKeys = kDim > 128 ? 32 : 64;  // of a tile: two blocks fit an H100's shared memory
  static constexpr int kTile = kKeys * Rows::kStride;
  static constexpr int kQuery = kTileRows * TileRows<kDim>::kStride;
  // [Q][K 0][V 0][K 1][V 1]; the merge's weights later lie over K and V.
  static constexpr size_t kBytes = sizeof(bf16) * kQuery + sizeof(Element) * 4 * size_t(kTile);
  static_assert(sizeof(float) * kTileRows * kMaxPrefillSplits <= sizeof(Element) * 4 * size_t(kTile));
};

// K and V of a tile of keys, in the background; zeros for keys and dimensions that do not exist, so that a
// probability of zero never meets a NaN.
template <int kDim, int kKeys, typename Element>
__device__ inline void copy_keys_async(Element* keys, Element* values, const uint32_t* places, const Element* head,
                                       const AttentionArgs& args) {
  using Rows = TileRows<kDim, Element>;
#pragma unroll 2
  for (int i = 0; i < kKeys * Rows::kPieces / kAttentionThreads; ++i) {
    const int index = i * kAttentionThreads + int(threadIdx.x);
    const int key = index / Rows::kPieces, column = index % Rows::kPieces * Rows::kPieceElements;
    const uint32_t place = places[key];
    const bool valid = place != kNoKey && column < args.head_dim;
    const Element* from = head + (valid ? int64_t(place) * Rows::kPieceElements + column : 0);
    copy_16_async(keys + key * Rows::kStride + column, from, valid);
    copy_16_async(values + key * Rows::kStride + column, from + (valid ? args.value_offset : 0), valid);
  }
  static_assert(kKeys * Rows::kPieces % kAttentionThreads == 0);
}

// A warp's rows of the tile.
template <int kFragments>
struct PrefillRows {
  int positions[kFragments][2];  // of the lane's rows, -1 where there is no such row
  int lowest, highest;           // of the warp's rows
  bool any;

  __device__ PrefillRows(const AttentionTile& tile, const AttentionArgs& args, int warp, int lane) {
    const int first = tile.first_packed + warp * 16 * kFragments;
    for (int f = 0; f < kFragments; ++f)
      for (int r = 0; r < 2; ++r) {
        const int packed = first + f * 16 + lane / 4 + r * 8;
        positions[f][r] = packed < tile.packed_end ? tile.position_of(packed, args.group) : -1;
      }
    any = first < tile.packed_end;
    lowest = tile.position_of(first, args.group);
    highest = tile.position_of(min(first + 16 * kFragments, tile.packed_end) - 1, args.group);
  }
};

template <int kDim, int kFragments>
__device__ inline void attend_tile(RunningSoftmax<kDim> (&state)[kFragments],
                                   const QueryFragments<kDim, kFragments>& query, const PrefillRows<kFragments>& rows,
                                   const AttentionArgs& args, const AttentionTile& tile, const bf16* keys,
                                   int first_key, int lane) {
  using Shared = PrefillShared<kDim, kFragments, bf16>;
  constexpr int kKeys = Shared::kKeys;
  const int last_key = first_key + kKeys - 1;
  if (first_key > rows.highest || (args.window > 0 && last_key <= rows.lowest - args.window)) return;  // none is seen
  float scores[kFragments][kKeys / 8][4];
  multiply_scores<kDim, kFragments, kKeys>(scores, query, keys, lane);
  if (args.soft_cap > 0) {
#pragma unroll
    for (int f = 0; f < kFragments; ++f) cap_scores(scores[f], args);
  }
  const bool all_visible = first_key >= tile.key_begin && last_key < tile.key_end && last_key <= rows.lowest &&
                           (args.window == 0 || first_key > rows.highest - args.window);
  if (!all_visible) {
#pragma unroll
    for (int f = 0; f < kFragments; ++f)
      mask_scores(scores[f], rows.positions[f], args.window, first_key, tile.key_begin, tile.key_end, lane);
  }
#pragma unroll
  for (int f = 0; f < kFragments; ++f) state[f].update(scores[f], args.exponent_scale);
  multiply_values<kDim, kFragments, kKeys>(state, scores, keys + Shared::kTile, lane);
}

template <int kDim, int kFragments>
__device__ inline void attend_prefill(RunningSoftmax<kDim> (&state)[kFragments], const AttentionArgs& args,
                                      const AttentionTile& tile, const bf16* queries, bf16* tiles, int warp, int lane) {
  using Shared = PrefillShared<kDim, kFragments, bf16>;
  constexpr int kKeys = Shared::kKeys;
  __shared__ uint32_t places[2][kKeys];
  const int thread = int(threadIdx.x);
  const bf16* head = args.kv + tile.kv_head * args.head_stride;
  int first_key = tile.key_begin / kKeys * kKeys;
  if (thread < kKeys) places[0][thread] = key_place<bf16>(args, tile, first_key + thread);
  __syncthreads();
  copy_keys_async<kDim, kKeys>(tiles, tiles + Shared::kTile, places[0], head, args);
  uint32_t next_place = thread < kKeys ? key_place<bf16>(args, tile, first_key + kKeys + thread) : kNoKey;
  const PrefillRows<kFragments> rows(tile, args, warp, lane);
  wait_for_copies();
  __syncthreads();
  QueryFragments<kDim, kFragments> query;
  query.assign(queries + warp * 16 * kFragments * TileRows<kDim>::kStride, lane);

  // One barrier per tile: it publishes this tile's bytes and the next tile's places, and says that nobody reads the
  // buffers of the tile before any more.
  for (int stage = 0; first_key < tile.key_end; stage ^= 1, first_key += kKeys) {
    if (thread < kKeys) places[stage ^ 1][thread] = next_place;
    wait_for_copies();
    __syncthreads();
    if (first_key + kKeys < tile.key_end) {
      bf16* next = tiles + (stage ^ 1) * 2 * Shared::kTile;
      copy_keys_async<kDim, kKeys>(next, next + Shared::kTile, places[stage ^ 1], head, args);
      if (thread < kKeys) next_place = key_place<bf16>(args, tile, first_key + 2 * kKeys + thread);
    }
    const bf16* keys = tiles + stage * 2 * Shared::kTile;
    if (rows.any) attend_tile<kDim, kFragments>(state, query, rows, args, tile, keys, first_key, lane);
  }
}

// A warp's rows of a whole tile as bf16, by way of shared memory: 16 bytes a lane, two or more rows at a time. `own`: the
// warp's query rows, which nobody else reads and the warp no longer does.
template <int kDim, int kFragments>
__device__ inline void write_rows(bf16* own, const RunningSoftmax<kDim> (&state)[kFragments], const AttentionArgs& args,
                                  const AttentionTile& tile, int first_row, int lane) {
  using Rows = TileRows<kDim>;
  __syncwarp();
#pragma unroll
  for (int f = 0; f < kFragments; ++f)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / state[f].sum[r];
      bf16* row = own + (f * 16 + lane / 4 + r * 8) * Rows::kStride + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        *reinterpret_cast<uint32_t*>(row + n * 8) =
            pack_bf16(state[f].output[n][2 * r] * inverse, state[f].output[n][2 * r + 1] * inverse);
    }
  __syncwarp();
  for (int i = lane; i < 16 * kFragments * Rows::kPieces; i += kWarpSize) {
    const int row = i / Rows::kPieces, column = i % Rows::kPieces * 8;
    if (tile.first_packed + first_row + row >= tile.packed_end || column >= args.head_dim) continue;
    *reinterpret_cast<uint4*>(output_at(args, tile, first_row + row, column)) =
        *reinterpret_cast<const uint4*>(own + row * Rows::kStride + column);
  }
}

// A warp's rows of any tile, element pair by element pair.
template <int kDim, int kFragments, int kTileRows>
__device__ inline void write_fragments(const RunningSoftmax<kDim> (&state)[kFragments], const AttentionArgs& args,
                                       const AttentionTile& tile, int first_row, int lane) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + f * 16 + lane / 4 + r * 8;
      if (tile.first_packed + row >= tile.packed_end) continue;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        write_pair<kDim, kTileRows>(args, tile, row, n * 8 + lane % 4 * 2, state[f].output[n][2 * r],
                                    state[f].output[n][2 * r + 1], state[f].sum[r]);
      if (lane % 4 == 0) write_state<kTileRows>(args, tile, row, state[f].maximum[r], state[f].sum[r]);
    }
  }
}

template <int kDim, int kFragments>
__global__ __launch_bounds__(kAttentionThreads, 2) void prefill_attention_kernel(const AttentionArgs args) {
  using Shared = PrefillShared<kDim, kFragments, bf16>;
  constexpr int kTileRows = Shared::kTileRows;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  bf16* queries = reinterpret_cast<bf16*>(shared_bytes);
  bf16* tiles = queries + Shared::kQuery;
  AttentionTile tile;
  if (!take_item(tile, args)) return;
  load_queries<kDim, kTileRows>(queries, args, tile);
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  RunningSoftmax<kDim> state[kFragments];
  attend_prefill<kDim, kFragments>(state, args, tile, queries, tiles, warp, lane);
#pragma unroll
  for (int f = 0; f < kFragments; ++f) state[f].finish(args.exponent_scale);
  if (tile.num_splits == 1 && args.wide_output) {
    const int first_row = warp * 16 * kFragments;
    write_rows<kDim, kFragments>(queries + first_row * TileRows<kDim>::kStride, state, args, tile, first_row, lane);
    return;
  }
  write_fragments<kDim, kFragments, kTileRows>(state, args, tile, warp * 16 * kFragments, lane);
  finish_tile<kDim, kTileRows>(reinterpret_cast<float*>(tiles), args, tile);
}

}  // namespace trireme::cuda
