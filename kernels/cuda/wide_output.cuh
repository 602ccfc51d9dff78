#pragma once
// What becomes of the sums of wide_linear.cuh.

#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/wide_stream.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A thread's sums of a column tile are those of its tokens `token` and `token` + 8 and of features 2 i and 2 i + 1.
template <class Tile>
struct WideOutput {
  static constexpr int kColumnTiles = Tile::kColumnTiles;
  using Sums = float[kColumnTiles][4];
  const WideArgs& args;
  int first, last;  // of the column tiles that are finished here
  int warp = __shfl_sync(~0u, int(threadIdx.x) / kWarpSize, 0);
  int g = int(threadIdx.x) % kWarpSize / 4, i = int(threadIdx.x) % 4;

  __device__ WideOutput(const WideArgs& a, int split)
      : args(a), first(Tile::first(split, a.splits)), last(Tile::first(split + 1, a.splits)) {}

  __device__ void finish(Sums& sums, int first_token, int feature_tile) const {
    const int token = first_token + 16 * warp + g, feature = feature_tile * args.tile_features;
    if (args.bias) add_bias(sums, feature);
    const bool eights = args.aligned && args.features % 8 == 0;
    if (args.epilogue == SkinnyEpilogue::gated)
      return eights ? store_gated<true>(sums, token, feature) : store_gated<false>(sums, token, feature);
    if (args.out_is_float) return store_floats(sums, token, feature);
    if (args.epilogue == SkinnyEpilogue::add)
      eights ? add_old(sums, token, feature) : add_old_one_by_one(sums, token, feature);
    eights ? store_rows<true>(sums, token, feature) : store_rows<false>(sums, token, feature);
  }

  __device__ bool mine(int n) const { return n >= first && n < last; }
  __device__ void add_bias(Sums& sums, int feature) const {
    const bool gated = args.epilogue == SkinnyEpilogue::gated;
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      const int at = feature + 8 * (gated ? n / 2 : n) + 2 * i;
      const bf16* from = args.bias + at + (gated && n % 2 == 1 ? args.features : 0);
      const float low = mine(n) && at < args.features ? __bfloat162float(from[0]) : 0.0f;
      const float high = mine(n) && at + 1 < args.features ? __bfloat162float(from[1]) : 0.0f;
      sums[n][0] += low, sums[n][1] += high, sums[n][2] += low, sums[n][3] += high;
    }
  }
  // Some loads at a time without a branch between them, so that they overlap.
  __device__ void add_old(Sums& sums, int token, int feature) const {
    constexpr int kTogether = 8;
    const bf16* row = static_cast<const bf16*>(args.out) + token * args.out_stride + feature + 2 * i;
#pragma unroll
    for (int from = 0; from < kColumnTiles; from += kTogether) {
      if (from + kTogether <= first || from >= last) continue;
      uint32_t old[kTogether][2];
#pragma unroll
      for (int n = 0; n < kTogether; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const bool wanted = from + n < kColumnTiles && mine(from + n) && token + 8 * half < args.tokens &&
                              feature + 8 * (from + n) < args.features;
          old[n][half] = wanted ? load_pair(row + 8 * half * args.out_stride + 8 * (from + n)) : 0;
        }
#pragma unroll
      for (int n = 0; n < kTogether && from + n < kColumnTiles; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          sums[from + n][2 * half] += low_bf16(old[n][half]);
          sums[from + n][2 * half + 1] += high_bf16(old[n][half]);
        }
    }
  }
  static __device__ uint32_t load_pair(const bf16* from) { return *reinterpret_cast<const uint32_t*>(from); }
  __device__ void add_old_one_by_one(Sums& sums, int token, int feature) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (token + 8 * half >= args.tokens) continue;
      const bf16* row = static_cast<const bf16*>(args.out) + (token + 8 * half) * args.out_stride;
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const int at = feature + 8 * n + 2 * i;
        if (!mine(n) || at >= args.features) continue;
        sums[n][2 * half] += __bfloat162float(row[at]);
        if (at + 1 < args.features) sums[n][2 * half + 1] += __bfloat162float(row[at + 1]);
      }
    }
  }

  // Four lanes with two features of each of four column tiles: then lane i has all eight of the i-th.
  __device__ void gather(uint32_t (&v)[4]) const {
    const bool odd = i % 2 == 1, high = i / 2 == 1;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const uint32_t got = __shfl_xor_sync(~0u, odd ? v[j] : v[j + 1], 1);
      v[j] = odd ? got : v[j], v[j + 1] = odd ? v[j + 1] : got;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t got = __shfl_xor_sync(~0u, high ? v[j] : v[j + 2], 2);
      v[j] = high ? got : v[j], v[j + 2] = high ? v[j + 2] : got;
    }
  }
  // kEights: where it lies in the row at all, all eight do, aligned. The code of the other case stands apart: what is
  // run once a tile comes out of memory.
  template <bool kEights>
  __device__ void store_eight(const uint32_t (&v)[4], int token, int feature) const {
    if (token >= args.tokens || feature >= args.features) return;
    bf16* to = static_cast<bf16*>(args.out) + token * args.out_stride + feature;
    if constexpr (kEights) {
      *reinterpret_cast<uint4*>(to) = make_uint4(v[0], v[1], v[2], v[3]);
    } else {
      uint64_t low = uint64_t(v[1]) << 32 | v[0], high = uint64_t(v[3]) << 32 | v[2];
#pragma unroll 1
      for (int left = min(8, args.features - feature); left > 0; --left, ++to) {
        *reinterpret_cast<uint16_t*>(to) = uint16_t(low);
        low = low >> 16 | high << 48, high >>= 16;
      }
    }
  }
  template <bool kEights>
  __device__ void store_rows(const Sums& sums, int token, int feature) const {
#pragma unroll
    for (int n = 0; n < kColumnTiles; n += 4) {
      if (n + 4 <= first || n >= last) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t v[4] = {};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (n + j < kColumnTiles) v[j] = pack_bf16(sums[n + j][2 * half], sums[n + j][2 * half + 1]);
        gather(v);
        if (mine(n + i)) store_eight<kEights>(v, token + 8 * half, feature + 8 * (n + i));
      }
    }
  }
  // silu(x) = x / (1 + e^-x); gelu_tanh(x) = x (1 + tanh(u)) / 2 = x / (1 + e^-2u). By the fast exponential and
  // division, as the tensor cores wait for it; their errors are far below bf16's.
  __device__ float activated(float x) const {
    const float exponent = args.gelu ? 1.5957691216057308f * (x + 0.044715f * x * x * x) : x;
    return __fdividef(x, 1.0f + __expf(-exponent));
  }
  template <bool kEights>
  __device__ void store_gated(const Sums& sums, int token, int feature) const {
#pragma unroll
    for (int m = 0; m < kColumnTiles / 2; m += 4) {
      if (2 * m + 8 <= first || 2 * m >= last) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t v[4] = {};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (2 * (m + j) + 1 < kColumnTiles)
            v[j] = gated(sums[2 * (m + j)] + 2 * half, sums[2 * (m + j) + 1] + 2 * half);
        gather(v);
        if (mine(2 * (m + i))) store_eight<kEights>(v, token + 8 * half, feature + 8 * (m + i));
      }
    }
  }
  // Of two neighbouring features.
  __device__ uint32_t gated(const float* gates, const float* ups) const {
    return pack_bf16(ups[0] * activated(gates[0]), ups[1] * activated(gates[1]));
  }
  __device__ void store_floats(const Sums& sums, int token, int feature) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (token + 8 * half >= args.tokens) continue;
      float* row = static_cast<float*>(args.out) + (token + 8 * half) * args.out_stride;
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const int at = feature + 8 * n + 2 * i;
        if (!mine(n) || at >= args.features) continue;
        if (args.aligned && at + 1 < args.features) {
          *reinterpret_cast<float2*>(row + at) = make_float2(sums[n][2 * half], sums[n][2 * half + 1]);
        } else {
          row[at] = sums[n][2 * half];
          if (at + 1 < args.features) row[at + 1] = sums[n][2 * half + 1];
        }
      }
    }
  }
};

#endif

}  // namespace trireme::cuda
