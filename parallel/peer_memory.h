#pragma once
// The memory of base/peer_buffers.h among the ranks of one group on one host: each rank allocates its piece and opens
// the others' over CUDA IPC. No NCCL object takes part: its device-side structures differ between releases.

#include <memory>
#include <optional>

#include "base/device.h"
#include "base/peer_buffers.h"
#include "parallel/communicator.h"
#include "parallel/mpi_group.h"

namespace trireme {

// Bytes of an area, of which a rank has three: partial sums of 8 MB in two shots. Longer ones go piece by piece.
inline constexpr int64_t kPeerAreaBytes = int64_t(16) << 20;

class PeerMemory {
 public:
  // Collective over the group. Null on every rank of it where one cannot reach another (no peer-to-peer path, another
  // container, more than kMaxPeers ranks), with a warning by the first; null without one for a group of one or on the
  // CPU. `idle` is called while it waits and must outlive the object.
  static std::unique_ptr<PeerMemory> make(MpiGroup group, Device device, const IdleHook& idle);
  // At a clean end all ranks come here and leave together, because none may free what another has open.
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;

  const PeerBuffers& buffers() const { return buffers_; }

 private:
  PeerMemory(MpiGroup group, Device device, const IdleHook& idle);
  bool join();  // true: this rank reaches all others
  void meet(const char* operation);

  MpiGroup group_;
  Device device_;
  const IdleHook& idle_;
  void* own_ = nullptr;
  PeerBuffers buffers_;
};

}  // namespace trireme
