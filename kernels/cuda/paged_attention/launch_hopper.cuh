#pragma once

#include <algorithm>

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/paged_attention/prefill_hopper.cuh"

namespace trireme::cuda {

template <int kDim>
void launch_hopper_prefill(const AttentionArgs& args, int64_t capacity, const Stream& stream) {
  const auto kernel = hopper_prefill_kernel<kDim>;
  constexpr size_t kBytes = HopperShared<kDim>::kBytes;
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(kBytes)));
  const int64_t blocks = std::min<int64_t>(capacity * args.kv_heads, multiprocessor_count(stream.device()));
  launch_dependent(kernel, grid_size(blocks), kHopperThreads, kBytes, stream, args);
}

}  // namespace trireme::cuda
