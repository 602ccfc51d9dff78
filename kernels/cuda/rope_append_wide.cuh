#pragma once
// rope_append by vectors of 16 bytes, several tokens a block: what prompts' steps need, whose heads come from memory. All
// of a thread's vectors are on their way before the block works out its tokens' angles.

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/rotary.cuh"
#include "kernels/cuda/rope_append_args.cuh"

namespace trireme::cuda {

inline constexpr int kWideThreads = 256;
inline constexpr int kMaxWideTokens = 4;  // of a block

// A head is cut into slices: two vectors of eight elements, the first half / 8 slices of which rotate.
inline bool fits_wide_slices(const RopeAppendArgs& args) {
  const RotaryHeadArgs& rotary = args.rotary;
  return !rotary.q_norm && rotary.head_dim % 16 == 0 && rotary.half % 8 == 0 && args.qkv_stride % 8 == 0 &&
         is_aligned(args.qkv, 16) && is_aligned(args.kv, 16);
}

struct WideSlice {
  int token, head;  // token: of the block's
  int index, low, high;

  // number: counted through the block's tokens and heads.
  __device__ WideSlice(const RopeAppendArgs& args, int number) {
    const RotaryHeadArgs& rotary = args.rotary;
    const int slices = rotary.head_dim / 16, heads = args.q_heads + 2 * args.kv_heads;
    const int in_all = number / slices;
    index = number % slices, token = in_all / heads, head = in_all % heads;
    const bool halves = index < rotary.half / 8 && !rotary.interleaved;
    low = halves ? 8 * index : 16 * index;
    high = halves ? 8 * index + rotary.half : 16 * index + 8;
  }
  __device__ bool rotates(const RopeAppendArgs& args) const {
    return index < args.rotary.half / 8 && kind_of(args, head) != HeadKind::value;
  }
};

// cosines, sines: of the slice's eight pairs.
__device__ inline void rotate_vectors(uint4& first, uint4& second, const float* cosines, const float* sines,
                                      bool interleaved) {
  float a[8], b[8];
  unpack(first, a), unpack(second, b);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float &x = !interleaved ? a[i] : i < 4 ? a[2 * i] : b[2 * i - 8],
          &y = !interleaved ? b[i] : i < 4 ? a[2 * i + 1] : b[2 * i - 7];
    rotate(x, y, cosines[i], sines[i]);
  }
  first = pack(a), second = pack(b);
}

// The block's tokens: where each one's keys go in the cache, -1 for padding, and their cosines and sines, [tokens, 2, half].
__device__ inline void find_tokens(int64_t* places, float* tables, const RopeAppendArgs& args, int64_t first_token,
                                   int tokens) {
  const RotaryHeadArgs& rotary = args.rotary;
  if (int(threadIdx.x) < tokens) places[threadIdx.x] = place_of(args, first_token + threadIdx.x);
  for (int i = int(threadIdx.x); i < tokens * rotary.half; i += kWideThreads) {
    const int token = i / rotary.half, pair = i % rotary.half;
    float* cosine = tables + 2 * token * rotary.half + pair;
    make_rotary_entry(cosine[0], cosine[rotary.half], float(args.positions[first_token + token]),
                      rotary.inv_freq[pair], rotary.scale);
  }
  __syncthreads();
}

// kBatch: slices of a thread that are on their way at a time.
template <int kBatch>
__global__ __launch_bounds__(kWideThreads) void rope_append_wide_kernel(const RopeAppendArgs args) {
  extern __shared__ __align__(16) float tables[];
  __shared__ int64_t places[kMaxWideTokens];
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int64_t first_token = int64_t(blockIdx.x) * args.tokens_per_block;
  const int tokens = int(min(int64_t(args.tokens_per_block), args.num_tokens - first_token));
  const int slices = tokens * (args.q_heads + 2 * args.kv_heads) * (args.rotary.head_dim / 16);
  for (int begin = 0; begin < slices; begin += kBatch * kWideThreads) {
    uint4 first[kBatch], second[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int number = begin + i * kWideThreads + int(threadIdx.x);
      if (number >= slices) break;
      const WideSlice slice(args, number);
      const bf16* head = head_at(args, first_token + slice.token, slice.head);
      first[i] = *reinterpret_cast<const uint4*>(head + slice.low);
      second[i] = *reinterpret_cast<const uint4*>(head + slice.high);
    }
    if (begin == 0) find_tokens(places, tables, args, first_token, tokens);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int number = begin + i * kWideThreads + int(threadIdx.x);
      if (number >= slices) break;
      const WideSlice slice(args, number);
      if (places[slice.token] < 0) continue;
      const float* cosines = tables + 2 * slice.token * args.rotary.half + 8 * slice.index;
      if (slice.rotates(args))
        rotate_vectors(first[i], second[i], cosines, cosines + args.rotary.half, args.rotary.interleaved);
      bf16* to = destination(args, head_at(args, first_token + slice.token, slice.head), slice.head,
                             places[slice.token]);
      *reinterpret_cast<uint4*>(to + slice.low) = first[i];
      *reinterpret_cast<uint4*>(to + slice.high) = second[i];
    }
  }
}

}  // namespace trireme::cuda
