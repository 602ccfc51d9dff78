#pragma once
// The arithmetic of paged attention, for one warp's 16 query rows: products on tensor cores, softmax in float32.

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/paged_attention/args.h"

namespace trireme::cuda {

inline constexpr float kLog2e = 1.4426950408889634f;

// Scores of 16 query rows against kKeys keys from `keys`, unscaled.
template <int kDim, int kKeys>
__device__ inline void multiply_scores(float (&scores)[kKeys / 8][4], const bf16* queries, const bf16* keys, int lane) {
  constexpr int kStride = kDim + 8;
  const bf16* query_row = queries + lane % 16 * kStride + lane / 16 * 8;
  const bf16* key_row = keys + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[4];
    load_matrices(a, query_row + d);
#pragma unroll
    for (int k = 0; k < kKeys; k += 16) {
      uint32_t b[4];
      load_matrices(b, key_row + k * kStride + d);
      multiply_add_16x8x16(scores[k / 8], a, b[0], b[1]);
      multiply_add_16x8x16(scores[k / 8 + 1], a, b[2], b[3]);
    }
  }
}

// output += probabilities x values: 16 rows, kKeys keys, all dimensions.
template <int kDim, int kKeys>
__device__ inline void multiply_values(float (&output)[kDim / 8][4], const float (&probabilities)[kKeys / 8][4],
                                       const bf16* values, int lane) {
  constexpr int kStride = kDim + 8;
  const bf16* value_row = values + lane % 16 * kStride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kKeys; k += 16) {
    const float(&low)[4] = probabilities[k / 8];
    const float(&high)[4] = probabilities[k / 8 + 1];
    const uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]),
                           pack_bf16(high[2], high[3])};
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      uint32_t b[4];
      load_matrices_transposed(b, value_row + k * kStride + d);
      multiply_add_16x8x16(output[d / 8], a, b[0], b[1]);
      multiply_add_16x8x16(output[d / 8 + 1], a, b[2], b[3]);
    }
  }
}

// The running softmax of a lane's two rows (lane / 4 and lane / 4 + 8 of the warp's 16). Maxima are of scores in
// units of log 2; sums are of this lane's columns only until finish().
template <int kDim>
struct RunningSoftmax {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
  float output[kDim / 8][4] = {};

  // Turns scores (-inf: masked) into probabilities relative to the new maxima and rescales what was there.
  template <int kTiles>
  __device__ void update(float (&scores)[kTiles][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = maximum[r];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      const float reference = top == -INFINITY ? 0.0f : top;  // nothing visible yet: -inf - 0, not -inf - -inf
      const float rescale = exp2f(maximum[r] - reference);
      maximum[r] = top;
      sum[r] *= rescale;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        scores[n][2 * r] = exp2f(scores[n][2 * r] - reference);
        scores[n][2 * r + 1] = exp2f(scores[n][2 * r + 1] - reference);
        sum[r] += scores[n][2 * r] + scores[n][2 * r + 1];
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) output[n][2 * r] *= rescale, output[n][2 * r + 1] *= rescale;
    }
  }

  __device__ void finish() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    }
  }
};

// score <- (cap tanh(scale score / cap) or scale score) / log 2, -inf where the row's query does not see the key.
// positions: of the lane's two rows, -1 where the row does not exist. first_key: of the warp's keys.
template <int kTiles>
__device__ inline void scale_and_mask(float (&scores)[kTiles][4], const AttentionArgs& args, const int (&positions)[2],
                                      int first_key, int lane, bool all_visible) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + n * 8 + lane % 4 * 2 + i % 2, position = positions[i / 2];
      float score = scores[n][i] * args.scale;
      if (args.soft_cap > 0) score = args.soft_cap * tanhf(score / args.soft_cap);
      const bool visible = all_visible || (key <= position && (args.window == 0 || key > position - args.window));
      scores[n][i] = visible ? score * kLog2e : -INFINITY;
    }
}

}  // namespace trireme::cuda
