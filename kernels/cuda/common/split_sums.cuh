#pragma once
// What blocks of a cluster that split a sum's k have sent each other (cluster.cuh), added up.

#include <cstdint>

namespace trireme::cuda {

// own: the values of this block's split, which the whole sum replaces. at: the shared address of what split 0 sent, step:
// bytes from one split's to the next. In the order of the splits, its own among them.
__device__ inline void add_splits(float (&own)[4], uint32_t at, uint32_t step, int split, int splits) {
  float total[4] = {};
#pragma unroll 1
  for (int from = 0; from < splits; ++from, at += step) {
    float values[4] = {own[0], own[1], own[2], own[3]};
    if (from != split)
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(values[0]), "=f"(values[1]), "=f"(values[2]), "=f"(values[3])
                   : "r"(at)
                   : "memory");
#pragma unroll
    for (int c = 0; c < 4; ++c) total[c] += values[c];
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) own[c] = total[c];
}

}  // namespace trireme::cuda
