#pragma once
// Blocks of one thread block cluster (sm_90): they run at the same time and read each other's shared memory. Before
// sm_90 a cluster is one block.

#include <cuda_runtime.h>

#include <cstdint>

namespace trireme::cuda {

__device__ inline int cluster_size() {
#if __CUDA_ARCH__ >= 900
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
  return int(size);
#else
  return 1;
#endif
}

__device__ inline int cluster_rank() {
#if __CUDA_ARCH__ >= 900
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return int(rank);
#else
  return 0;
#endif
}

// All threads of all blocks of the cluster that have not ended; what they wrote before they arrive, shared memory
// included, is seen by those that have waited.
__device__ inline void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
__device__ inline void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
  __syncthreads();
#endif
}
__device__ inline void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// Where `rank`'s block has what lies at `own`, an address in this block's shared memory.
template <typename T>
__device__ T* peer_shared(T* own, int rank) {
#if __CUDA_ARCH__ >= 900
  uint64_t peer;
  asm("mapa.u64 %0, %1, %2;" : "=l"(peer) : "l"(reinterpret_cast<uint64_t>(own)), "r"(rank));
  return reinterpret_cast<T*>(peer);
#else
  return own;
#endif
}

}  // namespace trireme::cuda
