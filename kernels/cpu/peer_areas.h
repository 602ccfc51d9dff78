#pragma once
// Ranks as threads of one process: each puts what it has into its own area and reads everybody's. Two areas would do: a
// rank that writes the one of two calls ago has seen all ranks arrive at the call between.

#include <atomic>
#include <chrono>
#include <thread>

#include "base/peer_buffers.h"

namespace trireme::cpu {

inline std::byte* area_of(const PeerBuffers& peers, int rank, uint32_t epoch) {
  return peers.memory[size_t(rank)] + kPeerHeaderBytes + int64_t(epoch % kPeerAreas) * peers.area_bytes;
}

// This rank's part of call `epoch` lies in its area.
inline void arrive(const PeerBuffers& peers, uint32_t epoch) {
  std::atomic_ref<uint32_t>(peers.header(peers.rank)->arrived).store(epoch + 1, std::memory_order_release);
}

// False, with the status set, when `rank` does not come to the call in time.
inline bool wait_for(const PeerBuffers& peers, int rank, uint32_t epoch) {
  const std::atomic_ref<uint32_t> arrived(peers.header(rank)->arrived);
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(peers.timeout_ns);
  while (arrived.load(std::memory_order_acquire) <= epoch) {
    const bool late = std::chrono::steady_clock::now() > end;
    if (late && peers.status) std::atomic_ref<uint32_t>(*peers.status).store(uint32_t(rank) + 1);
    if (late || peers.failed()) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace trireme::cpu
