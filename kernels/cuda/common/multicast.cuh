#pragma once
// What blocks of a cluster (cluster.cuh) copy for each other, and tell each other of it (sm_90 and later).

#include "kernels/cuda/common/bulk_copy.cuh"

#if __CUDA_ARCH__ >= 900

namespace trireme::cuda {

// As copy_box: to the same place of every block whose rank is a bit of `ranks`; the barrier of each counts its bytes.
__device__ inline void copy_box_to_all(uint32_t shared, const void* map, int c0, int c1, uint32_t barrier,
                                       uint16_t ranks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(barrier), "h"(ranks), "l"(policy)
      : "memory");
}
__device__ inline void copy_box_to_all(uint32_t shared, const void* map, int c0, int c1, int c2, int c3,
                                       uint32_t barrier, uint16_t ranks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1, {%2, %3, %4, %5}], [%6], %7, %8;" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(barrier), "h"(ranks), "l"(policy)
      : "memory");
}
// Of data that others will read, too.
__device__ inline uint64_t evict_normal_policy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Arrives at a barrier of a block of the cluster, at its peer_address, and orders what this thread has read (that the
// place may be written again), not what it wrote: a release to the cluster would wait a microsecond for a fence.
__device__ inline void arrive_at_peer(uint32_t peer_barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(peer_barrier) : "memory");
}

}  // namespace trireme::cuda

#endif
