#pragma once
// The rotary embedding's arithmetic, in one place so that every kernel rounds alike.

#include <cuda_runtime.h>

namespace trireme::cuda {

__device__ inline void make_rotary_entry(float& cosine, float& sine, float position, float inv_freq, float scale) {
  sincosf(position * inv_freq, &sine, &cosine);
  cosine *= scale;
  sine *= scale;
}

// A token's cosines and sines, made once by its block in shared memory: [half] each.
__device__ inline void make_rotary_tables(float* cosines, float* sines, float position, const float* inv_freq,
                                          float scale, int half) {
  for (int i = int(threadIdx.x); i < half; i += int(blockDim.x))
    make_rotary_entry(cosines[i], sines[i], position, inv_freq[i], scale);
  __syncthreads();
}

// (first, second) <- (first cos - second sin, second cos + first sin)
__device__ inline void rotate(float& first, float& second, float cosine, float sine) {
  const float turned = fmaf(first, cosine, -__fmul_rn(second, sine));
  second = fmaf(second, cosine, __fmul_rn(first, sine));
  first = turned;
}

}  // namespace trireme::cuda
