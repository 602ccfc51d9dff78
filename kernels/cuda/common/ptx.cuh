#pragma once
// The instructions that C++ has no name for (sm_80 and later).

#include <cuda_runtime.h>

#include <cstdint>

namespace trireme::cuda {

__device__ inline uint32_t shared_address(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

// 16 bytes of read-only data that will not be read again: past L1.
__device__ inline uint4 load_streaming(const void* from) {
  uint4 value;
  asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(from));
  return value;
}

// Copies 16 bytes from global to shared memory in the background, or writes zeros where !valid.
__device__ inline void copy_16_async(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}
// The same where the whole 128-byte line will be wanted.
__device__ inline void copy_16_async_of_line(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(bytes)
               : "memory");
}
__device__ inline void copy_4_async(void* shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Copies since the last call become a group; groups end in order.
__device__ inline void end_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kPending of this thread's groups are under way.
template <int kPending>
__device__ inline void wait_for_copy_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// 2^x to about 2 units in the last place, denormals flushed; 2^-inf = 0.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x to about one unit in the last place, denormals flushed; 1 / inf = 0.
__device__ inline float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Programmatic dependent launch (launch_dependent): a kernel may start before its predecessor on the stream has ended.
// It waits here before it reads what any kernel wrote or writes what any kernel may still read. Every grid waits in at
// least one block, so that grids end in order.
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The next kernel may be started once every block has called this or ended.
__device__ inline void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline float max_or_nan(float a, float b) {  // NaN where one is
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
  return larger;
}

// Four 8x8 matrices of 16-bit elements. Lane l names row l % 8 of matrix l / 8; of matrix i it receives, in
// out[i], the elements (l / 4, 2 (l % 4)) and (l / 4, 2 (l % 4) + 1).
__device__ inline void load_matrices(uint32_t (&out)[4], uint32_t row) {  // row: in shared memory
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_matrices(uint32_t (&out)[4], const void* row) { load_matrices(out, shared_address(row)); }
// The same of the transposed matrices: elements (2 (l % 4), l / 4) and (2 (l % 4) + 1, l / 4) as stored.
__device__ inline void load_matrices_transposed(uint32_t (&out)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  load_matrices_transposed(out, shared_address(row));
}

// c += a b for one warp: a 16x16, b 16x8 bf16, c 16x8 float. With g = lane / 4 and i = 2 (lane % 4), a lane holds
//   a: (g, i..i+1) (g+8, i..i+1) (g, i+8..i+9) (g+8, i+8..i+9);  b: (i..i+1, g) (i+8..i+9, g);
//   c: (g, i) (g, i+1) (g+8, i) (g+8, i+1).
__device__ inline void multiply_add_16x8x16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace trireme::cuda
