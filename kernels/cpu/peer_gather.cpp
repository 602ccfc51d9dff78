#include "kernels/peer_gather.h"

#include <cstring>

#include "kernels/cpu/peer_areas.h"

namespace trireme::cpu {

int64_t peer_gather_bytes(const PeerBuffers& peers) { return peers.size > 1 ? peers.area_bytes : 0; }

void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream&) {
  PeerHeader& own = *peers.header(peers.rank);
  const uint32_t epoch = own.epoch;
  const auto bytes = size_t(in.dim(0));
  std::memcpy(area_of(peers, peers.rank, epoch), in.data(), bytes);
  arrive(peers, epoch);
  bool all_came = true;
  for (int rank = 0; rank < peers.size; ++rank) {
    std::byte* const to = static_cast<std::byte*>(out.data()) + size_t(rank) * bytes;
    all_came = all_came && wait_for(peers, rank, epoch);
    if (all_came)
      std::memcpy(to, area_of(peers, rank, epoch), bytes);
    else
      std::memset(to, 0, bytes);
  }
  own.epoch = epoch + 1;
}

}  // namespace trireme::cpu
