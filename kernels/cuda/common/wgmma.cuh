#pragma once
// Warpgroup matrix products (sm_90a): four consecutive warps, the first a multiple of four, multiply 64 rows. They run in
// the background: registers of an accumulator or operand are touched by nobody between begin_products and the wait
// that ends their group; shared memory written by ordinary stores or cp.async needs a fence.proxy.async in between.
//
// Operands in shared memory lie in 128-byte rows of which eight make a group of 1,024 bytes, aligned to that; piece p
// of 16 bytes of row r stands at p ^ (r % 8) ("128-byte swizzle"). Wider matrices are panels of 64 columns.

#include <cuda_runtime.h>

#include <cstdint>

namespace trireme::cuda {

inline constexpr int kPanelColumns = 64;      // bf16
inline constexpr int kPanelRowBytes = 128;
inline constexpr int kPanelGroupBytes = 1024;  // eight rows

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Describes a matrix at this shared address: its rows are `panel_bytes` from one panel of 64 columns to the next (of
// use only where products run along rows: transposed operands).
__device__ inline uint64_t panel_descriptor(uint32_t shared, uint32_t panel_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62;
  return kSwizzle128 | uint64_t(kPanelGroupBytes >> 4) << 32 | uint64_t(panel_bytes >> 4) << 16 |
         uint64_t((shared & 0x3ffff) >> 4);
}
// The same matrix, that many bytes further.
__device__ inline uint64_t advanced(uint64_t descriptor, uint32_t bytes) { return descriptor + (bytes >> 4); }

__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_product_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most kPending groups are under way.
template <int kPending>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Nothing that reads or writes these registers crosses this line.
template <int kTiles>
__device__ inline void pin_registers(float (&c)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
    asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])::"memory");
}

template <int kRegisters>
__device__ inline void give_registers_up_to() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers_up_to() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Fragments are those of multiply_add_16x8x16 (ptx.cuh), for warp w of the warpgroup rows 16 w to 16 w + 15.
#define TRIREME_ROW(c) "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])

// c = a b^T or c += a b^T: a 64 x 16, b 128 x 16, both along the rows of their panels.
__device__ inline void multiply_64x128x16(float (&c)[16][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
      "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
      "%62, %63}, "
      "%64, %65, add, 1, 1, 0, 0;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1]), TRIREME_ROW(c[2]), TRIREME_ROW(c[3]), TRIREME_ROW(c[4]),
        TRIREME_ROW(c[5]), TRIREME_ROW(c[6]), TRIREME_ROW(c[7]), TRIREME_ROW(c[8]), TRIREME_ROW(c[9]),
        TRIREME_ROW(c[10]), TRIREME_ROW(c[11]), TRIREME_ROW(c[12]), TRIREME_ROW(c[13]), TRIREME_ROW(c[14]),
        TRIREME_ROW(c[15])
      : "l"(a), "l"(b), "r"(add));
}

// c += a b: b 16 x 128, its rows those of its panels.
__device__ inline void multiply_add_rows(float (&c)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
      "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
      "%62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1]), TRIREME_ROW(c[2]), TRIREME_ROW(c[3]), TRIREME_ROW(c[4]),
        TRIREME_ROW(c[5]), TRIREME_ROW(c[6]), TRIREME_ROW(c[7]), TRIREME_ROW(c[8]), TRIREME_ROW(c[9]),
        TRIREME_ROW(c[10]), TRIREME_ROW(c[11]), TRIREME_ROW(c[12]), TRIREME_ROW(c[13]), TRIREME_ROW(c[14]),
        TRIREME_ROW(c[15])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// c += a b: b 16 x 64, its rows those of its panels.
__device__ inline void multiply_add_rows(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
      "}"
      : TRIREME_ROW(c[0]), TRIREME_ROW(c[1]), TRIREME_ROW(c[2]), TRIREME_ROW(c[3]), TRIREME_ROW(c[4]),
        TRIREME_ROW(c[5]), TRIREME_ROW(c[6]), TRIREME_ROW(c[7])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef TRIREME_ROW

#endif

}  // namespace trireme::cuda
