#pragma once
// Warpgroup matrix products of 64 rows and many columns (wgmma.cuh): c = a b^T, or c += a b^T where `add` is not zero.
// a: 64 x 16, b: 64 to 256 x 16, both along the rows of panels in shared memory.

#include "kernels/cuda/common/wgmma_narrow.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// The operands that are the registers of eight column tiles each.
#define TRIREME_NAMES_0 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TRIREME_NAMES_1 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TRIREME_NAMES_2 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define TRIREME_NAMES_3 \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define TRIREME_ROW(c) "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
#define TRIREME_ROWS_2(n) TRIREME_ROW(c[n]), TRIREME_ROW(c[n + 1])
#define TRIREME_ROWS_4(n) TRIREME_ROWS_2(n), TRIREME_ROWS_2(n + 2)
#define TRIREME_ROWS_8(n) TRIREME_ROWS_4(n), TRIREME_ROWS_4(n + 4)
// columns: of the product; names: of its registers; a, b, add: the operands' numbers behind them.
#define TRIREME_PRODUCT(columns, names, a_name, b_name, add_name, ...)                                  \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add_name ", 0;\n"                               \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 {" names "}, " a_name ", " b_name \
               ", add, 1, 1, 0, 0;\n}"                                                                  \
               : __VA_ARGS__                                                                            \
               : "l"(a), "l"(b), "r"(add))

__device__ inline void multiply_wide(float (&c)[8][4], uint64_t a, uint64_t b, int add) {
  multiply_narrow(c, a, b, add);
}
__device__ inline void multiply_wide(float (&c)[12][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("96",
                  TRIREME_NAMES_0
                  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47",
                  "%48", "%49", "%50", TRIREME_ROWS_8(0), TRIREME_ROWS_4(8));
}
__device__ inline void multiply_wide(float (&c)[14][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("112",
                  TRIREME_NAMES_0
                  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
                  ", %48, %49, %50, %51, %52, %53, %54, %55",
                  "%56", "%57", "%58", TRIREME_ROWS_8(0), TRIREME_ROWS_4(8), TRIREME_ROWS_2(12));
}
__device__ inline void multiply_wide(float (&c)[16][4], uint64_t a, uint64_t b, int add) {
  multiply_64x128x16(c, a, b, add);
}
__device__ inline void multiply_wide(float (&c)[20][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("160",
                  TRIREME_NAMES_0 TRIREME_NAMES_1
                  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79",
                  "%80", "%81", "%82", TRIREME_ROWS_8(0), TRIREME_ROWS_8(8), TRIREME_ROWS_4(16));
}
__device__ inline void multiply_wide(float (&c)[24][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("192",
                  TRIREME_NAMES_0 TRIREME_NAMES_1 TRIREME_NAMES_2,
                  "%96", "%97", "%98", TRIREME_ROWS_8(0), TRIREME_ROWS_8(8), TRIREME_ROWS_8(16));
}
__device__ inline void multiply_wide(float (&c)[28][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("224",
                  TRIREME_NAMES_0 TRIREME_NAMES_1 TRIREME_NAMES_2
                  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111",
                  "%112", "%113", "%114", TRIREME_ROWS_8(0), TRIREME_ROWS_8(8), TRIREME_ROWS_8(16), TRIREME_ROWS_4(24));
}
__device__ inline void multiply_wide(float (&c)[32][4], uint64_t a, uint64_t b, int add) {
  TRIREME_PRODUCT("256",
                  TRIREME_NAMES_0 TRIREME_NAMES_1 TRIREME_NAMES_2 TRIREME_NAMES_3,
                  "%128", "%129", "%130", TRIREME_ROWS_8(0), TRIREME_ROWS_8(8), TRIREME_ROWS_8(16), TRIREME_ROWS_8(24));
}

#undef TRIREME_PRODUCT
#undef TRIREME_ROWS_8
#undef TRIREME_ROWS_4
#undef TRIREME_ROWS_2
#undef TRIREME_ROW
#undef TRIREME_NAMES_0
#undef TRIREME_NAMES_1
#undef TRIREME_NAMES_2
#undef TRIREME_NAMES_3

#endif

}  // namespace trireme::cuda
