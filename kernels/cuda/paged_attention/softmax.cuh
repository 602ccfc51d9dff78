#pragma once
// The arithmetic of paged attention, for one warp's kFragments x 16 query rows: products on tensor cores, softmax
// in float32. Scores are raw products; a probability is 2^(exponent_scale (score - maximum)).

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// A warp's query rows as mma operands: in registers where there is room and kHeld, else read again for every tile of
// keys.
template <int kDim, int kFragments, bool kHeld = true>
struct QueryFragments {
  static constexpr bool kInRegisters = kHeld && kFragments * kDim <= 128;
  uint32_t held[kInRegisters ? kFragments : 1][kInRegisters ? kDim / 16 : 1][4];
  const bf16* row;

  // queries: this warp's first row.
  __device__ void assign(const bf16* queries, int lane) {
    row = queries + lane % 16 * TileRows<kDim>::kStride + lane / 16 * 8;
    if constexpr (kInRegisters) {
#pragma unroll
      for (int f = 0; f < kFragments; ++f)
#pragma unroll
        for (int d = 0; d < kDim; d += 16) load_matrices(held[f][d / 16], row + f * 16 * TileRows<kDim>::kStride + d);
    }
  }
  __device__ void get(uint32_t (&a)[4], int fragment, int d) const {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = held[fragment][d / 16][i];
    } else {
      load_matrices(a, row + fragment * 16 * TileRows<kDim>::kStride + d);
    }
  }
};

// scores = query rows x keys, of kKeys keys.
template <int kDim, int kFragments, int kKeys, bool kHeld>
__device__ inline void multiply_scores(float (&scores)[kFragments][kKeys / 8][4],
                                       const QueryFragments<kDim, kFragments, kHeld>& queries, const bf16* keys,
                                       int lane) {
  constexpr int kStride = TileRows<kDim>::kStride;
  const bf16* key_row = keys + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (int f = 0; f < kFragments; ++f)
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[f][n][i] = 0;
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[kFragments][4];
#pragma unroll
    for (int f = 0; f < kFragments; ++f) queries.get(a[f], f, d);
#pragma unroll
    for (int k = 0; k < kKeys; k += 16) {
      uint32_t b[4];
      load_matrices(b, key_row + k * kStride + d);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        multiply_add_16x8x16(scores[f][k / 8], a[f], b[0], b[1]);
        multiply_add_16x8x16(scores[f][k / 8 + 1], a[f], b[2], b[3]);
      }
    }
  }
}

// The running softmax of 16 rows; a lane has rows lane / 4 and lane / 4 + 8. Sums are of this lane's columns only
// until finish().
template <int kDim>
struct RunningSoftmax {
  float maximum[2] = {-INFINITY, -INFINITY};  // of scores; after finish() in units of log 2
  float sum[2] = {0, 0};
  float output[kDim / 8][4] = {};

  // Turns scores (-inf: masked) into probabilities relative to the new maxima and rescales what was there. Row by row:
  // few registers.
  template <int kTiles>
  __device__ void update(float (&scores)[kTiles][4], float exponent_scale) {
    float rescale[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = maximum[r];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      const float reference = raise_maximum(r, top, exponent_scale, rescale[r]);
      float added = 0;
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
        added += exponentials(scores[n][2 * r], scores[n][2 * r + 1], exponent_scale, reference);
      sum[r] = fmaf(sum[r], rescale[r], added);
    }
    rescale_output(rescale);
  }

  // The same but for the output, which is left to be rescaled; both rows at once, their maxima in several chains, for
  // warps that share a processor with few others and would wait for their own results.
  template <int kTiles>
  __device__ void take_in(float (&scores)[kTiles][4], float exponent_scale, float (&rescale)[2]) {
    float tops[2], references[2], added[2] = {0, 0};
    find_maxima(scores, tops);
#pragma unroll
    for (int r = 0; r < 2; ++r) references[r] = raise_maximum(r, tops[r], exponent_scale, rescale[r]);
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        added[r] += exponentials(scores[n][2 * r], scores[n][2 * r + 1], exponent_scale, references[r]);
    sum[0] = fmaf(sum[0], rescale[0], added[0]), sum[1] = fmaf(sum[1], rescale[1], added[1]);
  }
  __device__ void rescale_output(const float (&rescale)[2]) {
    if (!__any_sync(0xffffffffu, rescale[0] != 1 || rescale[1] != 1)) return;  // maxima settle early
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      output[n][0] *= rescale[0], output[n][1] *= rescale[0];
      output[n][2] *= rescale[1], output[n][3] *= rescale[1];
    }
  }

  __device__ void finish(float exponent_scale) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
      maximum[r] *= exponent_scale;
    }
  }

 private:
  // Returns what probabilities of row r are relative to from now on, in units of log 2.
  __device__ float raise_maximum(int r, float top, float exponent_scale, float& rescale) {
    const float reference = top == -INFINITY ? 0.0f : top * exponent_scale;  // nothing visible: -inf - 0
    rescale = maximum[r] == top ? 1.0f : exp2_fast(fmaf(maximum[r], exponent_scale, -reference));
    maximum[r] = top;
    return reference;
  }
  // Returns their sum.
  __device__ static float exponentials(float& first, float& second, float exponent_scale, float reference) {
    first = exp2_fast(fmaf(first, exponent_scale, -reference));
    second = exp2_fast(fmaf(second, exponent_scale, -reference));
    return first + second;
  }
  template <int kTiles>
  __device__ void find_maxima(const float (&scores)[kTiles][4], float (&tops)[2]) const {
    constexpr int kChains = 4;
    float chains[2][kChains];
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float pair = fmaxf(scores[n][2 * r], scores[n][2 * r + 1]);
        chains[r][n % kChains] = fmaxf(n < kChains ? maximum[r] : chains[r][n % kChains], pair);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) tops[r] = fmaxf(fmaxf(chains[r][0], chains[r][1]), fmaxf(chains[r][2], chains[r][3]));
#pragma unroll
    for (int offset = 1; offset <= 2; offset *= 2) {
      const float other[2] = {__shfl_xor_sync(~0u, tops[0], offset), __shfl_xor_sync(~0u, tops[1], offset)};
      tops[0] = fmaxf(tops[0], other[0]), tops[1] = fmaxf(tops[1], other[1]);
    }
    static_assert(kTiles >= kChains);
  }
};

// output += probabilities x values: kKeys keys, all dimensions.
template <int kDim, int kFragments, int kKeys>
__device__ inline void multiply_values(RunningSoftmax<kDim> (&state)[kFragments],
                                       const float (&probabilities)[kFragments][kKeys / 8][4], const bf16* values,
                                       int lane) {
  constexpr int kStride = TileRows<kDim>::kStride;
  const bf16* value_row = values + lane % 16 * kStride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kKeys; k += 16) {
    uint32_t a[kFragments][4];
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      const float(&low)[4] = probabilities[f][k / 8];
      const float(&high)[4] = probabilities[f][k / 8 + 1];
      a[f][0] = pack_bf16(low[0], low[1]), a[f][1] = pack_bf16(low[2], low[3]);
      a[f][2] = pack_bf16(high[0], high[1]), a[f][3] = pack_bf16(high[2], high[3]);
    }
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      uint32_t b[4];
      load_matrices_transposed(b, value_row + k * kStride + d);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        multiply_add_16x8x16(state[f].output[d / 8], a[f], b[0], b[1]);
        multiply_add_16x8x16(state[f].output[d / 8 + 1], a[f], b[2], b[3]);
      }
    }
  }
}

// soft_cap tanh(x), from tanh x = 1 - 2 / (e^2x + 1): exact to some 2^-22 of the cap.
__device__ inline float capped(float x, float soft_cap) {
  return soft_cap - __fdividef(2 * soft_cap, exp2_fast(2 * 1.4426950408889634f * x) + 1);
}

template <int kTiles>
__device__ inline void cap_scores(float (&scores)[kTiles][4], const AttentionArgs& args) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = capped(scores[n][i] * args.cap_scale, args.soft_cap);
}

// -inf where the row's query does not see the key.   positions: of the lane's two rows, -1 where there is no such row.
// first_key: of the scores. key_begin: of the block, before which keys are another split's.
template <int kTiles>
__device__ inline void mask_scores(float (&scores)[kTiles][4], const int (&positions)[2], int window, int first_key,
                                   int key_begin, int key_end, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int end = min(positions[r] + 1, key_end);
    const int begin = window > 0 ? max(key_begin, positions[r] - window + 1) : key_begin;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = first_key + n * 8 + lane % 4 * 2 + i;
        if (key < begin || key >= end) scores[n][2 * r + i] = -INFINITY;
      }
  }
}

}  // namespace trireme::cuda
