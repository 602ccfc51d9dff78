#pragma once
// Decode tiles: 16 packed rows (one token's group, or a few tokens'), whose keys the four warps share. Every warp takes
// each fourth run of 16 keys through a ring of its own in shared memory, so that no barrier holds the reads up, and
// the warps add up at the end.

#include "kernels/cuda/paged_attention/output.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

inline constexpr int kRingBytes2 = 26112;  // of a warp: two blocks fit an H100's shared memory

template <int kDim, typename Element, int kRingBytes = kRingBytes2>
struct DecodeShared {
  using Rows = TileRows<kDim, Element>;
  static constexpr int kKeys = 16;                                          // of a warp's step
  static constexpr int kStepKeys = kKeys * kAttentionWarps;                 // of the block's
  static constexpr int kUnit = kKeys * Rows::kStride;                       // elements: K or V of a step
  static constexpr int kUnits = kRingBytes / (kUnit * int(sizeof(Element)));  // of a warp's ring
  static constexpr int kQuery = kDecodeTileRows * TileRows<kDim>::kStride;  // bf16
  static constexpr size_t kRings = sizeof(Element) * kAttentionWarps * kUnits * kUnit;
  static constexpr size_t kBytes = sizeof(bf16) * kQuery + kRings;
  static constexpr int kScratch = kDim > 2 * kAttentionWarps * kDecodeTileRows ? kDim : 2 * kAttentionWarps * kDecodeTileRows;
  static constexpr int kOutputStride = kDim + 8;  // floats; the warps' results lie over the rings
  static_assert(kUnits >= 3);
  static_assert(sizeof(float) * kAttentionWarps * kDecodeTileRows * kOutputStride <= kRings);
  static_assert(sizeof(float) * kDecodeTileRows * kMaxDecodeSplits <= kRings);
};

// A warp's keys and values on their way. Unit 2 s is K of its step s, unit 2 s + 1 is V; one copy group per unit.
template <int kDim, typename Element, int kRingBytes = kRingBytes2>
struct UnitRing {
  using Shared = DecodeShared<kDim, Element, kRingBytes>;
  static constexpr int kUnits = Shared::kUnits;
  static constexpr int kAhead = kUnits - 1;  // units asked for before they are used
  const AttentionArgs& args;
  const AttentionTile& tile;
  Element* ring;
  const Element* head;  // the KV head's first K
  int lane;
  int key;                  // first of the step that was asked for last
  uint32_t place, next_place;  // of key + lane % 16; of the step after that

  __device__ uint32_t place_of(int first_key) const { return key_place<Element>(args, tile, first_key + lane % 16); }

  // Rows from `end` on that exist are left alone.
  template <bool kHasEnd>
  __device__ void copy_unit(Element* to, const Element* from, uint32_t places, int end = 0) const {
    using Rows = typename Shared::Rows;
#pragma unroll
    for (int i = 0; i < Shared::kKeys * Rows::kPieces / kWarpSize; ++i) {
      const int index = i * kWarpSize + lane, row = index / Rows::kPieces, piece = index % Rows::kPieces;
      const uint32_t row_place = __shfl_sync(0xffffffffu, places, row);
      const bool valid = row_place != kNoKey && piece * Rows::kPieceElements < args.head_dim;
      if (kHasEnd && row >= end && valid) continue;
      const Element* source = from + (valid ? (int64_t(row_place) + piece) * Rows::kPieceElements : 0);
      copy_16_async_of_line(to + row * Rows::kStride + piece * Rows::kPieceElements, source, valid);
    }
  }

  __device__ const Element* part(int unit) const { return unit % 2 ? head + args.value_offset : head; }

  // The first kAhead units, but for the rows of keys from old_end on. All lookups first: they are one latency, not
  // one after the other.
  __device__ void begin(int first_key, int old_end) {
    uint32_t places[kAhead / 2 + 2];
#pragma unroll
    for (int s = 0; s < kAhead / 2 + 2; ++s) places[s] = place_of(first_key + s * Shared::kStepKeys);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int unit_key = first_key + u / 2 * Shared::kStepKeys;
      if (unit_key < tile.key_end) copy_unit<true>(ring + u * Shared::kUnit, part(u), places[u / 2], old_end - unit_key);
      end_copy_group();
    }
    constexpr int kLast = (kAhead - 1) / 2;
    key = first_key + kLast * Shared::kStepKeys;
    place = places[kLast];
    next_place = places[kLast + 1];
  }

  // Those rows, from the cache.
  __device__ void begin_new(int first_key, int old_end) const {
    if (first_key + (kAhead - 1) / 2 * Shared::kStepKeys + Shared::kKeys <= old_end) return;
#pragma unroll 1
    for (int u = 0; u < kAhead; ++u) {
      const int unit_key = first_key + u / 2 * Shared::kStepKeys;
      if (unit_key + Shared::kKeys <= old_end || unit_key >= tile.key_end) continue;
      const uint32_t places = unit_key + lane % 16 < old_end ? kNoKey : place_of(unit_key);
      copy_new(ring + u * Shared::kUnit, part(u), places);
    }
    wait_for_copies();
  }
  __device__ void copy_new(Element* to, const Element* from, uint32_t places) const {
    using Rows = typename Shared::Rows;
#pragma unroll 1
    for (int index = lane; index < Shared::kKeys * Rows::kPieces; index += kWarpSize) {
      const int row = index / Rows::kPieces, piece = index % Rows::kPieces;
      const uint32_t row_place = __shfl_sync(0xffffffffu, places, row);
      if (row_place != kNoKey && piece * Rows::kPieceElements < args.head_dim)
        copy_16_async(to + row * Rows::kStride + piece * Rows::kPieceElements,
                      from + (int64_t(row_place) + piece) * Rows::kPieceElements, true);
    }
  }

  // Waits for the unit in `slot`, then asks for the one kAhead units later, in the slot used before this one.
  template <bool kValues>
  __device__ const Element* take(int slot) {
    wait_for_copy_groups<kAhead - 1>();
    __syncwarp();
    Element* free = ring + (slot == 0 ? kUnits - 1 : slot - 1) * Shared::kUnit;
    constexpr bool kAsksForValues = kValues != (kAhead % 2 == 1);
    if constexpr (!kAsksForValues) {
      key += Shared::kStepKeys;
      place = next_place;
      next_place = place_of(key + Shared::kStepKeys);
    }
    if (key < tile.key_end) copy_unit<false>(free, part(kAsksForValues), place);
    end_copy_group();
    return ring + slot * Shared::kUnit;
  }
};

// The lane's rows and what the whole tile sees.
struct DecodeRows {
  int positions[2];  // -1 where there is no such row
  int lowest, highest;
  __device__ DecodeRows(const AttentionTile& tile, const AttentionArgs& args, int lane) {
    for (int r = 0; r < 2; ++r) {
      const int packed = tile.first_packed + lane / 4 + r * 8;
      positions[r] = packed < tile.packed_end ? tile.position_of(packed, args.group) : -1;
    }
    lowest = tile.position_of(tile.first_packed, args.group);
    highest = tile.position_of(tile.packed_end - 1, args.group);
  }
};

// The tile's heads, normed and rotated: its q into `queries`, and where the block's keys end with the token itself, its
// k and v into the cache and to where begin() left rows of the rings for them. A warp per head. `rings`: of all warps.
template <int kDim, int kRingBytes>
__device__ inline void append_token(const AttentionArgs& args, const AttentionTile& tile, bf16* queries, bf16* rings,
                                    const float* tables, int warp) {
  using Shared = DecodeShared<kDim, bf16, kRingBytes>;
  using Ring = UnitRing<kDim, bf16, kRingBytes>;
  const int group = args.group, position = tile.first_position, heads = group * args.kv_heads;
  const bool owns = position >= tile.key_begin && position < tile.key_end;
  const bf16* token = args.q + tile.first_token * args.q_stride;
  const float *cosines = tables, *sines = tables + args.append.rotary.half;
  for (int j = warp; j < group + (owns ? 2 : 0); j += kAttentionWarps) {
    if (j < group) {
      rotate_head(args.append.rotary, token + (tile.kv_head * group + j) * args.head_dim,
                  queries + j * TileRows<kDim>::kStride, nullptr, HeadKind::query, cosines, sines);
      continue;
    }
    const int part = j - group;  // 0: key, 1: value
    const int from_base = position - tile.key_begin / Shared::kKeys * Shared::kKeys;
    const int unit = 2 * (from_base / Shared::kStepKeys) + part;
    bf16* ring = rings + from_base % Shared::kStepKeys / Shared::kKeys * Shared::kUnits * Shared::kUnit;
    bf16* row = ring + unit * Shared::kUnit + position % Shared::kKeys * Shared::Rows::kStride;
    bf16* cached = args.append.kv + tile.kv_head * args.head_stride + part * args.value_offset +
                   int64_t(key_place<bf16>(args, tile, position)) * Shared::Rows::kPieceElements;
    rotate_head(args.append.rotary, token + (heads + part * args.kv_heads + tile.kv_head) * args.head_dim, cached,
                unit < Ring::kAhead ? row : nullptr, part ? HeadKind::value : HeadKind::key, cosines, sines);
  }
}

template <int kDim, int kRingBytes, bool kHeld>
__device__ inline void attend_decode(RunningSoftmax<kDim> (&state)[1], const AttentionArgs& args,
                                     const AttentionTile& tile, bf16* queries, bf16* rings, float* tables, int warp,
                                     int lane) {
  using Shared = DecodeShared<kDim, bf16, kRingBytes>;
  UnitRing<kDim, bf16, kRingBytes> ring{args, tile, rings + warp * Shared::kUnits * Shared::kUnit,
                            args.kv + tile.kv_head * args.head_stride, lane, 0, 0, 0};
  const int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys + warp * Shared::kKeys;
  const int old_end = tile.first_position;
  ring.begin(first_key, old_end);
  if (args.trigger_early) let_next_kernel_start();
  if (args.append.wanted) {
    for (int i = int(threadIdx.x); i < Shared::kQuery / 8; i += kAttentionThreads)
      reinterpret_cast<uint4*>(queries)[i] = make_uint4(0, 0, 0, 0);
    make_rotary_tables(tables, tables + args.append.rotary.half, float(tile.first_position),
                       args.append.rotary.inv_freq, args.append.rotary.scale, args.append.rotary.half);
  }
  wait_for_previous_kernel();
  if (!args.trigger_early) let_next_kernel_start();
  if (args.append.wanted) {
    append_token<kDim, kRingBytes>(args, tile, queries, rings, tables, warp);
  } else {
    load_queries_plain<kDim, kDecodeTileRows>(queries, args, tile);
    ring.begin_new(first_key, old_end);
  }
  __syncthreads();
  QueryFragments<kDim, 1, kHeld> query;
  query.assign(queries, lane);
  const DecodeRows rows(tile, args, lane);

  int slot = 0;
  const auto next_slot = [&] { slot = slot + 1 == Shared::kUnits ? 0 : slot + 1; };
  for (int key = first_key; key < tile.key_end; key += Shared::kStepKeys) {
    float scores[1][2][4];
    const bf16* keys = ring.template take<false>(slot);
    next_slot();
    multiply_scores<kDim, 1, Shared::kKeys>(scores, query, keys, lane);
    if (args.soft_cap > 0) cap_scores(scores[0], args);
    const bool all_visible = key >= tile.key_begin && key + Shared::kKeys - 1 <= rows.lowest &&
                             key + Shared::kKeys <= tile.key_end &&
                             (args.window == 0 || key > rows.highest - args.window);
    if (!all_visible) mask_scores(scores[0], rows.positions, args.window, key, tile.key_begin, tile.key_end, lane);
    state[0].update(scores[0], args.exponent_scale);
    const bf16* values = ring.template take<true>(slot);
    next_slot();
    multiply_values<kDim, 1, Shared::kKeys>(state, scores, values, lane);
  }
}

// The warps hold the same 16 rows over different keys. `outputs`: [warps][16][kOutputStride], over the rings.
template <int kDim>
__device__ inline void write_joined(const AttentionArgs& args, const AttentionTile& tile,
                                    const RunningSoftmax<kDim>& state, float* outputs, float* states, int warp,
                                    int lane) {
  constexpr int kStride = DecodeShared<kDim, bf16>::kOutputStride;
  float *maxima = states, *sums = states + kAttentionWarps * kDecodeTileRows;  // [warps][16] each
  const int rows = tile.packed_end - tile.first_packed;
  __syncthreads();  // every warp is through with its ring
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + r * 8;
    if (row < rows) {
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        *reinterpret_cast<float2*>(outputs + (warp * kDecodeTileRows + row) * kStride + n * 8 + lane % 4 * 2) =
            make_float2(state.output[n][2 * r], state.output[n][2 * r + 1]);
    }
    if (lane % 4 == 0) maxima[warp * kDecodeTileRows + row] = state.maximum[r], sums[warp * kDecodeTileRows + row] = state.sum[r];
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < rows * (kDim / 2); i += kAttentionThreads) {
    const int row = i / (kDim / 2), column = i % (kDim / 2) * 2;
    float top = -INFINITY;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) top = fmaxf(top, maxima[w * kDecodeTileRows + row]);
    const float reference = top == -INFINITY ? 0.0f : top;
    float sum = 0, first = 0, second = 0;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float weight = exp2_fast(maxima[w * kDecodeTileRows + row] - reference);
      const float2 pair =
          *reinterpret_cast<const float2*>(outputs + (w * kDecodeTileRows + row) * kStride + column);
      sum = fmaf(weight, sums[w * kDecodeTileRows + row], sum);
      first = fmaf(weight, pair.x, first);
      second = fmaf(weight, pair.y, second);
    }
    write_pair<kDim, kDecodeTileRows>(args, tile, row, column, first, second, sum);
    if (column == 0) write_state<kDecodeTileRows>(args, tile, row, top, sum);
  }
}

template <int kDim, int kRingBytes, int kBlocks, bool kHeld>
__global__ __launch_bounds__(kAttentionThreads, kBlocks) void decode_attention_kernel(const AttentionArgs args) {
  using Shared = DecodeShared<kDim, bf16, kRingBytes>;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  bf16* queries = reinterpret_cast<bf16*>(shared_bytes);
  bf16* rings = queries + Shared::kQuery;
  __shared__ float scratch[Shared::kScratch];  // first the token's cosines and sines, then the warps' maxima and sums
  AttentionTile tile;
  if (!take_item_early(tile, args)) return;
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  RunningSoftmax<kDim> state[1];
  attend_decode<kDim, kRingBytes, kHeld>(state, args, tile, queries, rings, scratch, warp, lane);
  state[0].finish(args.exponent_scale);
  float* outputs = reinterpret_cast<float*>(rings);
  write_joined<kDim>(args, tile, state[0], outputs, scratch, warp, lane);
  finish_tile<kDim, kDecodeTileRows>(outputs, args, tile);
}

}  // namespace trireme::cuda
