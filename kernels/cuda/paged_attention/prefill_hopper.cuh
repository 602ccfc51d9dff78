#pragma once
// Prefill tiles of 128 packed rows on Hopper GPUs (sm_90a). A block stays and takes one tile after another; its first
// warpgroup copies queries, keys and values into shared memory, the two others attend with 64 rows each.

#include "kernels/cuda/paged_attention/hopper_consumer.cuh"
#include "kernels/cuda/paged_attention/hopper_producer.cuh"

namespace trireme::cuda {

template <int kDim>
__global__ __launch_bounds__(kHopperThreads, 1) void hopper_prefill_kernel(const __grid_constant__ AttentionArgs args,
                                                                           const __grid_constant__ HopperMaps maps) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char raw_bytes[];
  const uint32_t raw = shared_address(raw_bytes);
  const uint32_t base = (raw + kPanelGroupBytes - 1) / kPanelGroupBytes * kPanelGroupBytes;
  const HopperBlock<kDim> block{base, raw_bytes + (base - raw)};
  if (threadIdx.x == 0) block.init_barriers();
  __syncthreads();
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int warpgroup = __shfl_sync(~0u, int(threadIdx.x) / kWarpgroupThreads, 0);
  if (warpgroup == 0) {
    give_registers_up_to<kHopperProducerRegisters>();
    produce(block, args, maps);
  } else {
    take_registers_up_to<kHopperConsumerRegisters>();
    HopperConsumer<kDim>(block, args, warpgroup - 1).run();
  }
#endif
}

}  // namespace trireme::cuda
