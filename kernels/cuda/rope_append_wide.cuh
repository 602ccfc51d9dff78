#pragma once
// rope_append by vectors of 16 bytes, for prompts' steps: a thread does the same slice of a head for several tokens, so
// that what it works out of its place is worked out once, and has all of them on their way before the block works out its
// tokens' angles.

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/rotary.cuh"
#include "kernels/cuda/rope_append_args.cuh"

namespace trireme::cuda {

inline constexpr int kMaxWideThreads = 1024;

// A head is cut into slices of two vectors of eight elements, the first half / 8 of which rotate. A block has a thread for
// each slice of a token.
inline int wide_threads(const RopeAppendArgs& args) {
  return (args.q_heads + 2 * args.kv_heads) * (args.rotary.head_dim / 16);
}

inline bool fits_wide_slices(const RopeAppendArgs& args) {
  const RotaryHeadArgs& rotary = args.rotary;
  return !rotary.q_norm && rotary.head_dim % 16 == 0 && rotary.half % 8 == 0 && args.qkv_stride % 8 == 0 &&
         is_aligned(args.qkv, 16) && is_aligned(args.kv, 16) && wide_threads(args) <= kMaxWideThreads;
}

struct WideSlice {
  int head, index, low, high;
  bool rotates;

  __device__ WideSlice(const RopeAppendArgs& args, int thread) {
    const RotaryHeadArgs& rotary = args.rotary;
    const int slices = rotary.head_dim / 16;
    head = thread / slices, index = thread % slices;
    const bool turns = index < rotary.half / 8, halves = turns && !rotary.interleaved;
    low = halves ? 8 * index : 16 * index;
    high = halves ? 8 * index + rotary.half : 16 * index + 8;
    rotates = turns && kind_of(args, head) != HeadKind::value;
  }
};

// cosines, sines: of the slice's eight pairs, aligned to 16 bytes.
__device__ inline void rotate_vectors(uint4& first, uint4& second, const float* cosines, const float* sines,
                                      bool interleaved) {
  float a[8], b[8], c[8], s[8];
  unpack(first, a), unpack(second, b);
  load(cosines, c), load(sines, s);
  if (interleaved) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      rotate(a[2 * i], a[2 * i + 1], c[i], s[i]);
      rotate(b[2 * i], b[2 * i + 1], c[4 + i], s[4 + i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) rotate(a[i], b[i], c[i], s[i]);
  }
  first = pack(a), second = pack(b);
}

// The block's tokens: where each one's keys go in the cache, -1 for padding, and their cosines and sines, [tokens, 2, half].
__device__ inline void find_tokens(int64_t* places, float* tables, const RopeAppendArgs& args, int64_t first_token,
                                   int tokens) {
  const RotaryHeadArgs& rotary = args.rotary;
  if (int(threadIdx.x) < tokens) places[threadIdx.x] = place_of(args, first_token + threadIdx.x);
  for (int i = int(threadIdx.x); i < tokens * rotary.half; i += int(blockDim.x)) {
    const int token = i / rotary.half, pair = i % rotary.half;
    float* cosine = tables + 2 * token * rotary.half + pair;
    make_rotary_entry(cosine[0], cosine[rotary.half], float(args.positions[first_token + token]),
                      rotary.inv_freq[pair], rotary.scale);
  }
  __syncthreads();
}

// Blocks: kTokens tokens, wide_threads() threads, at most kThreads.
template <int kTokens, int kThreads>
__global__ __launch_bounds__(kThreads, kMaxWideThreads / kThreads) void rope_append_wide_kernel(const RopeAppendArgs args) {
  extern __shared__ __align__(16) float tables[];
  __shared__ int64_t places[kTokens];
  const WideSlice slice(args, int(threadIdx.x));
  const int64_t first_token = int64_t(blockIdx.x) * kTokens;
  const int tokens = int(min(int64_t(kTokens), args.num_tokens - first_token));
  bf16* heads = head_at(args, first_token, slice.head);
  wait_for_previous_kernel();
  let_next_kernel_start();
  uint4 first[kTokens], second[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= tokens) break;
    first[t] = *reinterpret_cast<const uint4*>(heads + t * args.qkv_stride + slice.low);
    second[t] = *reinterpret_cast<const uint4*>(heads + t * args.qkv_stride + slice.high);
  }
  find_tokens(places, tables, args, first_token, tokens);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= tokens) break;
    if (places[t] < 0) continue;
    const float* cosines = tables + 2 * t * args.rotary.half + 8 * slice.index;
    if (slice.rotates)
      rotate_vectors(first[t], second[t], cosines, cosines + args.rotary.half, args.rotary.interleaved);
    bf16* to = destination(args, heads + t * args.qkv_stride, slice.head, places[t]);
    *reinterpret_cast<uint4*>(to + slice.low) = first[t];
    *reinterpret_cast<uint4*>(to + slice.high) = second[t];
  }
}

}  // namespace trireme::cuda
