#pragma once

#include <algorithm>
#include <cstdlib>

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/paged_attention/prefill_hopper.cuh"

namespace trireme::cuda {

template <int kDim>
void launch_hopper_prefill(const AttentionArgs& args, int64_t capacity, const Stream& stream) {
  static const int variant = std::getenv("TRIREME_PREFILL") ? std::atoi(std::getenv("TRIREME_PREFILL")) : 1;
  const auto kernel = variant == 1 ? hopper_prefill_kernel<kDim, true> : hopper_prefill_kernel<kDim, false>;
  constexpr size_t kBytes = HopperShared<kDim>::kBytes;
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(kBytes)));
  const int64_t blocks = std::min<int64_t>(capacity * args.kv_heads, multiprocessor_count(stream.device()));
  launch_dependent(kernel, grid_size(blocks), kHopperThreads, kBytes, stream, args);
}

}  // namespace trireme::cuda
