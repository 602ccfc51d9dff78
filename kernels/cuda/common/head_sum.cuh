#pragma once
// The sum of squares of a head, in one place so that every kernel adds in the same order.

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/reduce.cuh"

namespace trireme::cuda {

// By one warp; every lane gets it.
__device__ inline float head_square_sum(const bf16* head, int head_dim) {
  float sum = 0;
  for (int d = int(threadIdx.x) % kWarpSize; d < head_dim; d += kWarpSize) {
    const float value = __bfloat162float(head[d]);
    sum += value * value;
  }
  return warp_sum(sum);
}

}  // namespace trireme::cuda
