#pragma once
// One round of sampling between the shards: a rank's part and, after gather(), everybody's. Through the peers' memory
// where the group has one and the part is small (kernels/peer_gather.h), else by the communicator. One thread.

#include <algorithm>

#include "kernels/peer_gather.h"
#include "kernels/sample.h"
#include "parallel/communicator.h"

namespace trireme {

// How the shards reach each other. Every rank of the group has the same of it.
struct ShardLinks {
  Communicator& group;
  const PeerBuffers* peers = nullptr;  // of the same ranks; null: all through the communicator

  bool through_peers(size_t bytes, Device device) const {
    constexpr int64_t kMostBytes = int64_t(512) << 10;  // of sums of that size one shot took half of NCCL's time
    return peers && int64_t(bytes) <= std::min(kMostBytes, peer_gather_bytes(*peers, device));
  }
};

class ShardExchange {
 public:
  // bytes: of a part at most.
  ShardExchange(Device device, size_t bytes, const ShardLinks& links)
      : links_(links), device_(device), local_(DType::u8, {int64_t(std::max<size_t>(bytes, 16))}, device) {
    if (links.group.size() > 1) all_ = Tensor(DType::u8, {links.group.size(), local_.dim(0)}, device);
  }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(local_.data());
  }
  char* all() const { return reinterpret_cast<char*>(all_.data()); }

  // The first `bytes` of every shard.
  Gathered gather(size_t bytes, const Stream& stream) const {
    if (links_.group.size() == 1) return {as<const char>(), 0};
    const int64_t count = int64_t(bytes);
    const TensorView all(all_.data(), DType::u8, {links_.group.size(), count}, device_);
    const TensorView local(local_.data(), DType::u8, {count}, device_);
    if (links_.through_peers(bytes, device_))
      peer_all_gather(all, local, *links_.peers, stream);
    else
      links_.group.all_gather(all, local, stream);
    return {this->all(), count};
  }

 private:
  const ShardLinks& links_;
  Device device_;
  Tensor local_, all_;
};

}  // namespace trireme
