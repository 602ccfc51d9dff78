#pragma once
// Decode tiles: 16 packed rows (one token's group, or a few tokens'), whose keys the four warps share. Every warp takes
// each fourth run of 16 keys through a ring of its own in shared memory, so that no barrier holds the reads up, and
// the warps add up at the end.

#include "kernels/cuda/paged_attention/decode_ring.cuh"
#include "kernels/cuda/paged_attention/decode_start.cuh"
#include "kernels/cuda/paged_attention/output.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"

namespace trireme::cuda {

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

// The warp's keys, 16 every kStepKeys from first_key on. score(scores, key): what multiply_scores() says of the 16 from
// `key` on; weigh(scores, key): their multiply_values().
template <int kDim, int kStepKeys, typename Score, typename Weigh>
__device__ inline void attend_keys(RunningSoftmax<kDim>& state, const AttentionArgs& args, const AttentionTile& tile,
                                   int first_key, int lane, const Score& score, const Weigh& weigh) {
  constexpr int kKeys = 16;
  const DecodeRows rows(tile, args, lane);
  for (int key = first_key; key < tile.key_end; key += kStepKeys) {
    float scores[1][2][4];
    score(scores, key);
    if (args.soft_cap > 0) cap_scores(scores[0], args);
    const bool all_visible = key >= tile.key_begin && key + kKeys - 1 <= rows.lowest && key + kKeys <= tile.key_end &&
                             (args.window == 0 || key > rows.highest - args.window);
    if (!all_visible) mask_scores(scores[0], rows.positions, args.window, key, tile.key_begin, tile.key_end, lane);
    state.update(scores[0], args.exponent_scale);
    weigh(scores, key);
  }
}

// `tables`: room for a token's cosines and sines.
template <int kDim, int kBlocks>
__device__ inline void attend_decode(RunningSoftmax<kDim> (&state)[1], const AttentionArgs& args,
                                     AttentionTile& tile, bf16* queries, bf16* rings, float* tables, int warp,
                                     int lane) {
  using Shared = DecodeShared<kDim, bf16, kBlocks>;
  UnitRing<kDim, bf16, kBlocks> ring{args, tile, rings + warp * Shared::kUnits * Shared::kUnit,
                                     args.kv + tile.kv_head * args.head_stride, lane, 0, 0, 0};
  const int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys + warp * Shared::kKeys;
  const auto found = ring.look_up(first_key);
  clip_to_position(tile, args);
  ring.begin(first_key, tile.first_position, found);
  if (args.append.wanted) prepare_append<kDim>(queries, tables, args, tile);
  const TokenAppend<kDim> append(args, tile, queries, ring.first_row(rings, tile.first_position, 0),
                                 ring.first_row(rings, tile.first_position, 1), tables);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (args.append.wanted) {
    append.run(warp);
  } else {
    read_queries<kDim>(queries, args, tile);
    ring.begin_new(first_key, tile.first_position);
  }
  __syncthreads();
  QueryFragments<kDim, 1, kBlocks != kManyDecodeBlocks> query;  // four blocks have no registers for them
  query.assign(queries, lane);

  int slot = 0;
  const auto next_slot = [&] { slot = slot + 1 == Shared::kUnits ? 0 : slot + 1; };
  attend_keys<kDim, Shared::kStepKeys>(
      state[0], args, tile, first_key, lane,
      [&](float (&scores)[1][2][4], int) {
        const bf16* keys = ring.template take<false>(slot);
        next_slot();
        multiply_scores<kDim, 1, Shared::kKeys>(scores, query, keys, lane);
      },
      [&](const float (&scores)[1][2][4], int) {
        const bf16* values = ring.template take<true>(slot);
        next_slot();
        multiply_values<kDim, 1, Shared::kKeys>(state, scores, values, lane);
      });
}

// The warps hold the same 16 rows over different keys. `outputs`: [warps][16][kOutputStride], over the rings.
// `states`: [kStates]. Of all rows: pair(row, column, first, second, sum), the unnormalized dimensions `column` and
// column + 1, and state(row, maximum, sum).
template <int kDim, int kBlocks, typename Pair, typename State>
__device__ inline void join_warps(const AttentionTile& tile, const RunningSoftmax<kDim>& state, float* outputs,
                                  float* states, int warp, int lane, const Pair& pair_of, const State& state_of) {
  constexpr int kStride = DecodeShared<kDim, bf16, kBlocks>::kOutputStride;
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
    if (lane % 4 == 0) {
      maxima[warp * kDecodeTileRows + row] = state.maximum[r];
      sums[warp * kDecodeTileRows + row] = state.sum[r];
    }
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
    pair_of(row, column, first, second, sum);
    if (column == 0) state_of(row, top, sum);
  }
}

template <int kDim, int kBlocks>
__device__ inline void write_joined(const AttentionArgs& args, const AttentionTile& tile,
                                    const RunningSoftmax<kDim>& state, float* outputs, float* states, int warp,
                                    int lane) {
  join_warps<kDim, kBlocks>(
      tile, state, outputs, states, warp, lane,
      [&](int row, int column, float first, float second, float sum) {
        write_pair<kDim, kDecodeTileRows>(args, tile, row, column, first, second, sum);
      },
      [&](int row, float top, float sum) { write_state<kDecodeTileRows>(args, tile, row, top, sum); });
}

// kBlocks: that run on a processor at a time.
template <int kDim, int kBlocks>
__global__ __launch_bounds__(kAttentionThreads, kBlocks) void decode_attention_kernel(const AttentionArgs args) {
  using Shared = DecodeShared<kDim, bf16, kBlocks>;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  bf16* queries = reinterpret_cast<bf16*>(shared_bytes);
  bf16* rings = queries + Shared::kQuery;
  __shared__ float scratch[Shared::kScratch];
  AttentionTile tile;
  if (!take_decode_item(tile, args, int(blockIdx.x) / args.kv_heads, int(blockIdx.x) % args.kv_heads)) return;
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  RunningSoftmax<kDim> state[1];
  attend_decode<kDim, kBlocks>(state, args, tile, queries, rings, scratch, warp, lane);
  state[0].finish(args.exponent_scale);
  float* outputs = reinterpret_cast<float*>(rings);
  write_joined<kDim, kBlocks>(args, tile, state[0], outputs, scratch, warp, lane);
  finish_tile<kDim, kDecodeTileRows>(outputs, args, tile);
}

}  // namespace trireme::cuda
