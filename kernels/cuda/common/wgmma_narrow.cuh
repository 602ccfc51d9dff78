#pragma once
// Warpgroup matrix products of 64 rows and few columns (wgmma.cuh): c = a b^T, or c += a b^T where `add` is not zero.
// a: 64 x 16, b: 8, 16, 32 or 64 x 16, both along the rows of panels in shared memory.

#include "kernels/cuda/common/wgmma.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

#define TRIREME_ROW(c) "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])

__device__ inline void multiply_narrow(float (&c)[1][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %6, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3}, "
      "%4, %5, add, 1, 1, 0, 0;\n"
      "}"
      : TRIREME_ROW(c[0])
      : "l"(a), "l"(b), "r"(add));
}
__device__ inline void multiply_narrow(float (&c)[2][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %10, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7}, "
      "%8, %9, add, 1, 1, 0, 0;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1])
      : "l"(a), "l"(b), "r"(add));
}
__device__ inline void multiply_narrow(float (&c)[4][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "%16, %17, add, 1, 1, 0, 0;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1]), TRIREME_ROW(c[2]), TRIREME_ROW(c[3])
      : "l"(a), "l"(b), "r"(add));
}
__device__ inline void multiply_narrow(float (&c)[8][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, add, 1, 1, 0, 0;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1]), TRIREME_ROW(c[2]), TRIREME_ROW(c[3]), TRIREME_ROW(c[4]),
        TRIREME_ROW(c[5]), TRIREME_ROW(c[6]), TRIREME_ROW(c[7])
      : "l"(a), "l"(b), "r"(add));
}

#undef TRIREME_ROW

#endif

}  // namespace trireme::cuda
