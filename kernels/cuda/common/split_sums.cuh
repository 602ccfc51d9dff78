#pragma once
// What blocks of a cluster that split a sum's k have sent each other (cluster.cuh), added up.

#include <cstdint>

#include "kernels/cuda/common/cluster.cuh"

namespace trireme::cuda {

// own: the values of this block's split, which the whole sum replaces. at: the shared address of what split 0 sent,
// step: bytes from one split's to the next. In the order of the splits, its own among them.
__device__ inline void add_splits(float (&own)[4], uint32_t at, uint32_t step, int split, int splits) {
  float total[4] = {};
#pragma unroll 1
  for (int from = 0; from < splits; ++from, at += step) {
    float values[4] = {own[0], own[1], own[2], own[3]};
    if (from != split)
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(values[0]), "=f"(values[1]), "=f"(values[2]), "=f"(values[3])
                   : "r"(at)
                   : "memory");
#pragma unroll
    for (int c = 0; c < 4; ++c) total[c] += values[c];
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) own[c] = total[c];
}

#if __CUDA_ARCH__ >= 900

// Where the splits' values of column tiles meet. Split s finishes `share` column tiles from s * share on, this one
// [first, last), and its block has room for what every split sends it of those.
struct SplitMeeting {
  int split, splits, share, first, last;
  uint32_t room;     // shared address, the same in every block: [splits, share, threads] of 16 bytes
  uint32_t arrived;  // the barrier that counts what comes
};

// Sends the blocks of the other splits what they finish, and adds what they sent.   rank_of(split): of its block.
template <int kThreads, int kColumnTiles, typename RankOf>
__device__ inline void exchange_splits(float (&sums)[kColumnTiles][4], const SplitMeeting& m, int thread,
                                       RankOf rank_of) {
  const auto part = [&](int split) { return m.room + uint32_t((split * m.share * kThreads + thread) * 16); };
  int to = 0, left = m.share;
  uint32_t at = peer_address(part(m.split), rank_of(0)), barrier = peer_address(m.arrived, rank_of(0));
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n) {
    if (to != m.split) send_16(at, sums[n], barrier);
    at += kThreads * 16;
    asm volatile("" : "+r"(at));
    if (--left > 0) continue;
    left = m.share, ++to;
    if (to < m.splits) at = peer_address(part(m.split), rank_of(to)), barrier = peer_address(m.arrived, rank_of(to));
  }
  if (m.first < m.last) wait_for_peers(m.arrived, 0);
  at = part(0);
  const uint32_t step = part(1) - at;
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n) {
    if (n < m.first || n >= m.last) continue;
    add_splits(sums[n], at, step, m.split, m.splits);
    at += kThreads * 16;
    asm volatile("" : "+r"(at));
  }
}

#endif

}  // namespace trireme::cuda
