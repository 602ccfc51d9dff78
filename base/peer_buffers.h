#pragma once
// Memory that the ranks of a group write into each other's without a library between (kernels/fused_all_reduce.h).
// A value: it owns nothing. parallel/ makes such memory over CUDA IPC; tests make it inside one process.
//
// Every rank has one piece: a PeerHeader in kPeerHeaderBytes, then kPeerAreas areas of area_bytes that calls use in
// turn. All of it is zero before any rank's first call. Calls on one group's memory are made by all its ranks in the
// same order, and a rank's calls are ordered among themselves (one stream).

#include <array>
#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr int kMaxPeers = 8;
inline constexpr int kPeerAreas = 3;
inline constexpr int64_t kPeerHeaderBytes = 256;

// The state of a rank's calls, in the memory of its own device so that a CUDA graph finds it at every replay.
struct PeerHeader {
  uint32_t epoch;            // calls that ended
  uint32_t finished_blocks;  // of the running call (cuda)
  uint32_t failed;           // not 0: a wait ran out once; no later one waits
  uint32_t arrived;          // calls whose data lie in this rank's area (cpu)
  int64_t used[kPeerAreas];  // bytes that a call left in each area, to be zeroed (cuda)
};
static_assert(sizeof(PeerHeader) <= kPeerHeaderBytes);

struct PeerBuffers {
  int rank = 0, size = 1;
  std::array<std::byte*, kMaxPeers> memory{};  // by rank, as this process and device address it
  int64_t area_bytes = 0;                      // a multiple of 16
  // Host memory; 1 + the rank waited for, once a wait took longer than timeout_ns. From then on all sums of the group
  // are garbage, so no step that ended after it may be used.
  uint32_t* status = nullptr;
  uint64_t timeout_ns = 10'000'000'000;
  int max_blocks = 0;  // of a kernel; 0: as many as its device has multiprocessors

  PeerHeader* header(int of_rank) const { return reinterpret_cast<PeerHeader*>(memory[size_t(of_rank)]); }
  uint32_t status_now() const { return status ? *static_cast<const volatile uint32_t*>(status) : 0; }
  bool failed() const { return status_now() != 0; }
};

inline int64_t peer_memory_bytes(int64_t area_bytes) { return kPeerHeaderBytes + kPeerAreas * area_bytes; }

}  // namespace trireme
