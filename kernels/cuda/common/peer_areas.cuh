#pragma once
// How a kernel uses the areas of base/peer_buffers.h: which one is its call's, where a rank's messages lie in it,
// zeroing what the call before left, and moving on. All blocks of a call make all of these steps.

#include <algorithm>

#include "kernels/cuda/common/peer_messages.cuh"

namespace trireme::cuda {

struct PeerAreas {
  std::byte* memory[kMaxPeers];
  PeerHeader* state;
  uint32_t* status;
  uint64_t timeout_ns;
  int64_t area_bytes, used_bytes;  // of an area: by this call
  int rank, size;

  __device__ std::byte* area(int of_rank, uint32_t epoch) const {
    return memory[of_rank] + kPeerHeaderBytes + int64_t(epoch % kPeerAreas) * area_bytes;
  }
  // Where `to` keeps what `from` sends: the ranks after `to` first.
  __device__ int slot(int from, int to) const { return from > to ? from - to - 1 : from - to - 1 + size; }
};

// Blocks that are sure to run at once: one on each processor, or two where a kernel leaves room for a second, but then
// without some processors that NCCL's kernels between stages may keep to themselves.
inline int blocks_at_once(const PeerBuffers& peers, int processors, bool two) {
  constexpr int kForeignProcessors = 16;
  if (peers.max_blocks > 0) return peers.max_blocks;
  return two ? std::max(processors, 2 * (processors - kForeignProcessors)) : processors;
}

inline void set_areas(PeerAreas& areas, const PeerBuffers& peers, int64_t used_bytes) {
  std::copy(peers.memory.begin(), peers.memory.end(), areas.memory);
  areas.state = peers.header(peers.rank);
  areas.status = peers.status;
  areas.timeout_ns = peers.timeout_ns;
  areas.area_bytes = peers.area_bytes;
  areas.used_bytes = used_bytes;
  areas.rank = peers.rank, areas.size = peers.size;
}

// The running call, read when the kernel before has ended.
struct PeerCall {
  uint32_t epoch;
  int64_t previous_bytes;  // what the call before left in its area
  bool failed;             // a wait ran out once: nothing that lies in an area means anything any more
  __device__ explicit PeerCall(const PeerAreas& areas) {
    const PeerHeader& state = *areas.state;
    const int64_t used[kPeerAreas] = {state.used[0], state.used[1], state.used[2]};
    epoch = state.epoch;
    failed = state.failed != 0;
    const uint32_t previous = (epoch + kPeerAreas - 1) % kPeerAreas;
    previous_bytes = previous == 0 ? used[0] : previous == 1 ? used[1] : used[2];
  }
};
static_assert(kPeerAreas == 3);

// The payload that `rank` writes to `from`; zeros where it does not come in time, and in all calls after that.
__device__ inline Payload receive(const PeerAreas& areas, const PeerCall& call, const std::byte* from, int rank) {
  if (call.failed) return {};
  Patience patience;
  uint4 message = peek(from);
  while (!has_come(message)) {
    if (!patience.lasts(areas.state, areas.status, areas.timeout_ns, rank)) return {};
    message = peek(from);
  }
  return payload_of(message);
}

// Zeroes what the call before left in this rank's area.
__device__ inline void clear_previous(const PeerAreas& areas, const PeerCall& call) {
  std::byte* const area = areas.area(areas.rank, call.epoch + kPeerAreas - 1);
  const int64_t step = int64_t(gridDim.x) * blockDim.x * int64_t(sizeof(uint4));
  for (int64_t at = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * int64_t(sizeof(uint4)); at < call.previous_bytes;
       at += step)
    *reinterpret_cast<uint4*>(area + at) = uint4{};
}

// The last block to end moves this rank on to the next area.
__device__ inline void end_call(const PeerAreas& areas, const PeerCall& call) {
  __syncthreads();
  if (threadIdx.x != 0 || atomicAdd(&areas.state->finished_blocks, 1u) + 1 != gridDim.x) return;
  areas.state->used[call.epoch % kPeerAreas] = areas.used_bytes;
  areas.state->finished_blocks = 0;
  areas.state->epoch = call.epoch + 1;
}

}  // namespace trireme::cuda
