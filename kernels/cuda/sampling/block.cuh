#pragma once
// What the sampling kernels share: one block works on one row; reductions of 64-bit values over a block.

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/sample.h"
#include "kernels/sample_rows.h"

namespace trireme::cuda {

inline constexpr int kSampleThreads = 1024;

struct Larger {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Smaller {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// Over all threads of a block of whole warps; every thread gets the result. Operations on integers only, so
// that the order is of no account.
template <typename T, typename Operation>
__device__ T block_reduce(T value, T identity, Operation operation) {
  __shared__ T partials[32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32, warps = int(blockDim.x) / 32;
  for (int offset = 16; offset > 0; offset /= 2) value = operation(value, __shfl_xor_sync(0xffffffffu, value, offset));
  __syncthreads();  // an earlier call's partials have been read
  if (lane == 0) partials[warp] = value;
  __syncthreads();
  value = lane < warps ? partials[lane] : identity;
  for (int offset = 16; offset > 0; offset /= 2) value = operation(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

using Word = unsigned long long;  // what CUDA's atomics and shuffles take for uint64_t

__device__ inline Word block_sum_of(Word value) { return block_reduce<Word>(value, 0, Sum{}); }

__device__ inline const float* raw_row(const SampleShard& shard, int r) {
  return shard.logits + r * shard.logits_stride;
}
__device__ inline float* z_row(const SampleShard& shard, int r) { return shard.z + int64_t(r) * shard.vocab_local; }

// An open row without an answer.
__device__ inline bool is_pending(const SampleShard& shard, int r) {
  return shard.index[r].open >= 0 && shard.states[r].pending;
}

// A beam row whose logits are finite.
__device__ inline bool is_beam_row(const SampleShard& shard, int r) {
  return shard.index[r].beam >= 0 && !shard.answers[r].non_finite;
}

// The order of finite doubles as integers; kNoScore is below all.
inline constexpr long long kNoScore = INT64_MIN;
__device__ inline long long score_key(double score) {
  const long long bits = __double_as_longlong(score);
  return bits ^ (long long)(Word(bits >> 63) >> 1);
}
__device__ inline double key_score(long long key) {
  return __longlong_as_double(key ^ (long long)(Word(key >> 63) >> 1));
}

struct BestDraw {
  long long key = kNoScore;
  int id = INT32_MAX;
  __device__ void offer(long long other_key, int other_id) {  // ids of one thread ascend
    if (other_key <= key) return;
    key = other_key;
    id = other_id;
  }
};

// The block's best, lowest id first; id INT32_MAX: none.
__device__ inline BestDraw block_best(const BestDraw& mine) {
  BestDraw best;
  best.key = block_reduce<long long>(mine.key, kNoScore, Larger{});
  best.id = block_reduce<int>(mine.key == best.key && best.key != kNoScore ? mine.id : INT32_MAX, INT32_MAX, Smaller{});
  return best;
}

}  // namespace trireme::cuda
