#pragma once
// What every launcher needs: grid sizes, the launch check, alignment questions.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/cuda_check.h"
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::cuda {

using bf16 = __nv_bfloat16;

inline constexpr int kWarpSize = 32;
inline constexpr int64_t kMaxGridY = 65535;

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A grid dimension; the launchers return before this where there is no work.
inline unsigned grid_size(int64_t blocks, int64_t limit = 0x7fffffff) {
  CHECK(blocks > 0 && blocks <= limit) << "grid of" << blocks << "blocks";
  return unsigned(blocks);
}

inline void check_launch() { CUDA_CHECK(cudaGetLastError()); }

// Launches a kernel that may start before its predecessor has ended: it calls wait_for_previous_kernel() (ptx.cuh).
// cluster: blocks of one (cluster.cuh), sm_90 where there are several.
template <typename... Params, typename... Args>
void launch_dependent_clusters(void (*kernel)(Params...), int cluster, dim3 grid, dim3 block, size_t shared_bytes,
                               const Stream& stream, Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {unsigned(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes, config.stream = stream.get();
  config.attrs = attributes, config.numAttrs = cluster > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
}
template <typename... Params, typename... Args>
void launch_dependent(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, const Stream& stream,
                      Args&&... args) {
  launch_dependent_clusters(kernel, 1, grid, block, shared_bytes, stream, std::forward<Args>(args)...);
}

inline bool is_aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// Every row of a [rows, cols] bf16 view (last dimension contiguous) may be read 8 elements at a time.
inline bool rows_are_wide(const TensorView& view, int64_t cols) {
  return cols % 8 == 0 && is_aligned(view.data(), 16) && (view.dim(0) <= 1 || view.stride(0) % 8 == 0);
}

inline bf16* bf16_data(const TensorView& view) {
  CHECK(view.dtype() == DType::bf16) << "expected bf16, got" << view.shape_text();
  return static_cast<bf16*>(view.data());
}
inline int32_t* i32_data(const TensorView& view) {
  CHECK(view.dtype() == DType::i32) << "expected i32, got" << view.shape_text();
  return static_cast<int32_t*>(view.data());
}
inline float* f32_data(const TensorView& view) {
  CHECK(view.dtype() == DType::f32) << "expected f32, got" << view.shape_text();
  return static_cast<float*>(view.data());
}

// Runs body(width) with width an integral constant: 8 elements per thread where `wide`, else 1.
template <typename Body>
void with_vector_width(bool wide, Body&& body) {
  if (wide)
    body(std::integral_constant<int, 8>{});
  else
    body(std::integral_constant<int, 1>{});
}

}  // namespace trireme::cuda
