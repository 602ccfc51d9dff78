#pragma once
// What becomes of the sums of wide_linear.cuh.

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/linear/wide_stream.cuh"

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
    if (args.epilogue == SkinnyEpilogue::gated)
      return args.gelu ? store<kColumnTiles / 2>(token, feature, gated_by<true>(sums))
                       : store<kColumnTiles / 2>(token, feature, gated_by<false>(sums));
    if (args.out_is_float) return store_floats(sums, token, feature);
    if (args.epilogue == SkinnyEpilogue::add)
      has_eights() ? add_old(sums, token, feature) : add_old_one_by_one(sums, token, feature);
    store<kColumnTiles>(token, feature, packed(sums));
  }

  // Whether of eight neighbours of the output all or none lie in the row, aligned.
  __device__ bool has_eights() const { return args.aligned && args.features % 8 == 0; }
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
  // What is stored: two neighbouring features of the output's n-th column tile, of one of a thread's two tokens.
  static __device__ auto packed(const Sums& sums) {
    return [&sums](int n, int half) { return pack_bf16(sums[n][2 * half], sums[n][2 * half + 1]); };
  }
  template <bool kGelu>
  static __device__ auto gated_by(const Sums& sums) {
    return [&sums](int n, int half) {
      const float *gates = sums[2 * n] + 2 * half, *ups = sums[2 * n + 1] + 2 * half;
      return pack_bf16(ups[0] * activated<kGelu>(gates[0]), ups[1] * activated<kGelu>(gates[1]));
    };
  }
  // silu(x) = x / (1 + e^-x); gelu_tanh(x) = x (1 + tanh(u)) / 2 = x / (1 + e^-2u). In few instructions, as the tensor
  // cores wait for it; the errors are far below bf16's.
  template <bool kGelu>
  static __device__ float activated(float x) {
    constexpr float kLog2E = 1.4426950408889634f, kLinear = -2 * 0.7978845608028654f * kLog2E;
    const float exponent = kGelu ? x * (kLinear + kLinear * 0.044715f * x * x) : -kLog2E * x;
    return x * reciprocal_fast(1.0f + exp2_fast(exponent));
  }
  template <int kTiles, class Pair>
  __device__ void store(int token, int feature, Pair&& pair) const {
    has_eights() && args.splits == 1 ? store_whole<kTiles>(token, feature, pair)
                                     : store_part<kTiles>(token, feature, pair);
  }
  template <int kTiles, class Pair>
  __device__ void gather_pairs(uint32_t (&v)[4], int n, int half, Pair&& pair) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = n + j < kTiles ? pair(n + j, half) : 0;
    gather(v);
  }
  // A tile that is not split, in rows of eights. Little code: it comes from memory once a tile.
  template <int kTiles, class Pair>
  __device__ void store_whole(int token, int feature, Pair&& pair) const {
    bf16* to = static_cast<bf16*>(args.out) + token * args.out_stride + feature + 8 * i;
    const int left = args.features - feature - 8 * i;
#pragma unroll
    for (int n = 0; n < kTiles; n += 4)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t v[4];
        gather_pairs<kTiles>(v, n, half, pair);
        if (8 * n < left && token + 8 * half < args.tokens && (n + 4 <= kTiles || n + i < kTiles))
          *reinterpret_cast<uint4*>(to + 8 * half * args.out_stride + 8 * n) = make_uint4(v[0], v[1], v[2], v[3]);
      }
  }
  template <int kTiles, class Pair>
  __device__ void store_part(int token, int feature, Pair&& pair) const {
    constexpr int kSums = kColumnTiles / kTiles;  // column tiles of sums to one of the output
#pragma unroll
    for (int n = 0; n < kTiles; n += 4) {
      if (kSums * (n + 4) <= first || kSums * n >= last) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t v[4];
        gather_pairs<kTiles>(v, n, half, pair);
        if (mine(kSums * (n + i))) store_eight(v, token + 8 * half, feature + 8 * (n + i));
      }
    }
  }
  __device__ void store_eight(const uint32_t (&v)[4], int token, int feature) const {
    if (token >= args.tokens || feature >= args.features) return;
    bf16* to = static_cast<bf16*>(args.out) + token * args.out_stride + feature;
    if (has_eights()) {
      *reinterpret_cast<uint4*>(to) = make_uint4(v[0], v[1], v[2], v[3]);
      return;
    }
    uint64_t low = uint64_t(v[1]) << 32 | v[0], high = uint64_t(v[3]) << 32 | v[2];
#pragma unroll 1
    for (int left = min(8, args.features - feature); left > 0; --left, ++to) {
      *reinterpret_cast<uint16_t*>(to) = uint16_t(low);
      low = low >> 16 | high << 48, high >>= 16;
    }
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
