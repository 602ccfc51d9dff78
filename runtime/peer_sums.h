#pragma once
// How the TP group adds up partial sums of a step: through the peers' memory up to some size
// (kernels/fused_all_reduce.h), beyond it through the communicator. Rank 0 measures and decides, so all ranks make the
// same calls.

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/fused_all_reduce.h"
#include "parallel/cluster.h"

namespace trireme {

// Bytes of one rank's partial sums: one_shot up to `one_shot`, else two_shot up to `two_shot`, else two_shot_dense up
// to `dense`, else the communicator. What one form cannot do takes the next that can.
struct AllReduceLimits {
  int64_t one_shot = 0, two_shot = 0, dense = 0;
  bool operator==(const AllReduceLimits&) const = default;
};

struct PeerSums {
  const PeerBuffers* buffers = nullptr;  // null: all through the communicator
  AllReduceLimits limits;

  // Of partials [rows, cols]; empty: through the communicator.
  std::optional<AllReduceForm> form(const TensorView& partial) const;
  // 1 + the rank of the group that did not come to a sum in time; 0: all is well.
  int32_t status() const { return buffers ? int32_t(buffers->status_now()) : 0; }
};

// Seconds of a sum with residual and norm. A form that does not take the size: infinity.
struct AllReduceTime {
  int64_t bytes = 0;
  double one_shot = 0, two_shot = 0, dense = 0, library = 0;
};

// times: ascending bytes. Each form up to the first size at which what comes after it is faster; without limit where
// there is none.
AllReduceLimits limits_of(std::span<const AllReduceTime> times);

// Collective over the cluster, at the start: proves the peers' memory with sums whose result is known (with a warning
// and no use of it where one is wrong), then measures rows of that many columns on this machine. gathers: proves what
// sampling sends through it as well (kernels/peer_gather.h).
PeerSums prepare_peer_sums(Cluster& cluster, int64_t cols, int64_t max_rows, bool gathers);

// data <- sum over the TP group. data: [T, cols] activation dtype.
void sum_over_group(TensorView data, Communicator& group, const PeerSums& sums, const Stream& stream);

}  // namespace trireme
