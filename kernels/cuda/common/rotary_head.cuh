#pragma once
// What rope_append does to one head, in one place so that every kernel rounds alike: head_rms_norm and the rotary
// embedding, in registers.

#include "kernels/cuda/common/head_sum.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/rotary.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/rope_append.h"

namespace trireme::cuda {

struct RotaryHeadArgs {
  const float *q_norm, *k_norm;  // both null: no norm
  const float* inv_freq;
  int head_dim, half;
  float norm_eps, scale;
  bool interleaved;
};

inline constexpr int kMaxQuads = 2;  // of a lane: head_dim 256

// What a lane's pairs of neighbours ask for.
inline bool fits_rotary_heads(TensorView qkv, TensorView kv, const RopeAppendOptions& options) {
  const int64_t head_dim = kv.dim(4);
  return head_dim % 4 == 0 && head_dim <= 4 * kMaxQuads * kWarpSize && options.inv_freq.elements() % 2 == 0 &&
         is_aligned(qkv.data(), 4) && is_aligned(kv.data(), 4) && (qkv.dim(0) <= 1 || qkv.stride(0) % 2 == 0);
}

inline RotaryHeadArgs rotary_head_args(const RopeAppendOptions& options, int64_t head_dim) {
  RotaryHeadArgs args{};
  if (!options.q_norm.empty()) args.q_norm = f32_data(options.q_norm), args.k_norm = f32_data(options.k_norm);
  if (!options.inv_freq.empty()) args.inv_freq = f32_data(options.inv_freq);
  args.head_dim = int(head_dim), args.half = int(options.inv_freq.elements());
  args.norm_eps = options.norm_eps, args.scale = options.scale, args.interleaved = options.interleaved;
  return args;
}

// Four elements of a head that a lane has: two neighbours at `low`, two at `high`. The first half / 2 quads rotate.
struct Quad {
  int low, high;
  float values[4];

  __device__ Quad(const RotaryHeadArgs& args, int index) {
    const bool halves = index < args.half / 2 && !args.interleaved;
    low = halves ? 2 * index : 4 * index;
    high = halves ? 2 * index + args.half : 4 * index + 2;
  }
  __device__ void load(const bf16* head) {
    const uint32_t a = *reinterpret_cast<const uint32_t*>(head + low),
                   b = *reinterpret_cast<const uint32_t*>(head + high);
    values[0] = low_bf16(a), values[1] = high_bf16(a), values[2] = low_bf16(b), values[3] = high_bf16(b);
  }
  __device__ void store(bf16* head) const {
    *reinterpret_cast<uint32_t*>(head + low) = pack_bf16(values[0], values[1]);
    *reinterpret_cast<uint32_t*>(head + high) = pack_bf16(values[2], values[3]);
  }
  // As head_rms_norm_kernel does it, with its rounding to bf16.
  __device__ void normalize(const float* weight, float factor) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float w = weight[i < 2 ? low + i : high + i - 2];
      values[i] = __bfloat162float(__float2bfloat16_rn(values[i] * factor * w));
    }
  }
  __device__ void turn(const float* cosines, const float* sines, int index, bool interleaved) {
    const int i = 2 * index;
    if (interleaved) {
      rotate(values[0], values[1], cosines[i], sines[i]);
      rotate(values[2], values[3], cosines[i + 1], sines[i + 1]);
    } else {
      rotate(values[0], values[2], cosines[i], sines[i]);
      rotate(values[1], values[3], cosines[i + 1], sines[i + 1]);
    }
  }
};

enum class HeadKind { query, key, value };

// By one warp. Lanes beyond the head's quads only help with the sum.
struct RotaryHead {
  Quad quads[kMaxQuads];

  __device__ static int lane() { return int(threadIdx.x) % kWarpSize; }
  __device__ explicit RotaryHead(const RotaryHeadArgs& args)
      : quads{Quad(args, lane()), Quad(args, lane() + kWarpSize)} {}
  __device__ void load(const RotaryHeadArgs& args, const bf16* head) {
#pragma unroll
    for (int j = 0; j < kMaxQuads; ++j)
      if (4 * (lane() + j * kWarpSize) < args.head_dim) quads[j].load(head);
  }
  // What was loaded from `head` goes to `to` and, where that is given, to `copy`.
  __device__ void finish(const RotaryHeadArgs& args, const bf16* head, bf16* to, bf16* copy, HeadKind kind,
                         const float* cosines, const float* sines) const;
};

__device__ inline void RotaryHead::finish(const RotaryHeadArgs& args, const bf16* head, bf16* to, bf16* copy,
                                          HeadKind kind, const float* cosines, const float* sines) const {
  const float* weight = kind == HeadKind::value ? nullptr : kind == HeadKind::key ? args.k_norm : args.q_norm;
  float factor = 1;
  if (weight) factor = 1.0f / sqrtf(head_square_sum(head, args.head_dim) / float(args.head_dim) + args.norm_eps);
#pragma unroll
  for (int j = 0; j < kMaxQuads; ++j) {
    const int index = lane() + j * kWarpSize;
    if (4 * index >= args.head_dim) continue;
    Quad quad = quads[j];
    if (weight) quad.normalize(weight, factor);
    if (kind != HeadKind::value && index < args.half / 2) quad.turn(cosines, sines, index, args.interleaved);
    quad.store(to);
    if (copy) quad.store(copy);
  }
}

__device__ inline void rotate_head(const RotaryHeadArgs& args, const bf16* head, bf16* to, HeadKind kind,
                                   const float* cosines, const float* sines) {
  RotaryHead values(args);
  values.load(args, head);
  values.finish(args, head, to, nullptr, kind, cosines, sines);
}

}  // namespace trireme::cuda
