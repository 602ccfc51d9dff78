#pragma once
// Sums over a warp and over a block. Every thread gets the result; the order depends only on the block's size.

#include <cuda_runtime.h>

namespace trireme::cuda {

__device__ inline float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// All threads of a block of whole warps call this; `partials` is 32 floats of shared memory.
__device__ inline float block_sum(float value, float* partials) {
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32, warps = int(blockDim.x) / 32;
  value = warp_sum(value);
  __syncthreads();  // an earlier call's partials have been read
  if (lane == 0) partials[warp] = value;
  __syncthreads();
  return warp_sum(lane < warps ? partials[lane] : 0.0f);
}

}  // namespace trireme::cuda
