#pragma once
// Descriptions of bf16 tensors in global memory, for bulk copies of boxes of them (sm_90 and later). Host code.

#include <cuda.h>

#include <cstdint>
#include <span>

namespace trireme::cuda {

// Boxes of `box` elements out of a tensor of `sizes`, first the dimension whose elements lie side by side; strides:
// bytes from one element to the next of the others. A box is 64 elements wide: in shared memory (aligned to 1,024
// bytes) it is a panel of common/wgmma.cuh. What lies outside the tensor comes as zeros. Addresses and strides are
// multiples of 16 bytes, sides of a box at most 256. A kernel takes the result as a __grid_constant__ parameter.
// promotion: what the L2 cache fetches at a time. Any thread.
CUtensorMap make_tensor_map(const void* data, std::span<const uint64_t> sizes, std::span<const uint64_t> strides,
                            std::span<const uint32_t> box,
                            CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B);

}  // namespace trireme::cuda
