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
// The same for who has written nothing that others read, only read what they will overwrite, or just began to run: a
// release is a fence of the whole GPU.
__device__ inline void cluster_arrive_relaxed() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
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
__device__ inline void cluster_sync_relaxed() {
  cluster_arrive_relaxed();
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

#if __CUDA_ARCH__ >= 900

// Where `rank`'s block has what lies at this block's shared address.
__device__ inline uint32_t peer_address(uint32_t shared, int rank) {
  uint32_t peer;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(shared), "r"(rank));
  return peer;
}
// Writes 16 bytes into a block's shared memory in the background; its barrier there counts them (bulk_copy.cuh).
__device__ inline void send_16(uint32_t peer, const float (&values)[4], uint32_t peer_barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(peer),
      "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]), "r"(peer_barrier)
      : "memory");
}
// As wait_for_phase (bulk_copy.cuh), for what other blocks of the cluster have sent.
__device__ inline void wait_for_peers(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n"
        "}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!done);
}

#endif

}  // namespace trireme::cuda
