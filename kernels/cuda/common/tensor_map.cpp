#include "kernels/cuda/common/tensor_map.h"

#include <cuda_runtime.h>

#include <array>

#include "base/check.h"
#include "base/cuda_check.h"

namespace trireme::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// Of the driver that is there: the program is not linked with it.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
  CHECK(found == cudaDriverEntryPointSuccess && function) << "cuTensorMapEncodeTiled: the driver is older than CUDA 12";
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap make_tensor_map(const void* data, std::span<const uint64_t> sizes, std::span<const uint64_t> strides,
                            std::span<const uint32_t> box, CUtensorMapL2promotion promotion) {
  static const Encode encode = find_encode();
  constexpr std::array<uint32_t, 5> kSteps = {1, 1, 1, 1, 1};
  CHECK(sizes.size() <= kSteps.size() && strides.size() + 1 == sizes.size() && box.size() == sizes.size())
      << "make_tensor_map" << sizes.size() << "dimensions";
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, uint32_t(sizes.size()), const_cast<void*>(data), sizes.data(),
             strides.data(), box.data(), kSteps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK_EQ(int(result), int(CUDA_SUCCESS)) << "cuTensorMapEncodeTiled";
  return map;
}

}  // namespace trireme::cuda
