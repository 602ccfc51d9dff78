#pragma once
// Proves that values which every rank of a group must hold alike are alike, bit by bit. For hunting mistakes: every
// check gathers them all and waits for the device. TRIREME_CHECK_REPLICAS=1 makes the worker do it in every step.

#include "parallel/communicator.h"

namespace trireme {

class ReplicaCheck {
 public:
  explicit ReplicaCheck(Communicator& group) : group_(group) {}
  static bool wanted();

  // Collective. Throws InternalError naming `what`, the ranks and the first bytes that differ. value: contiguous.
  void check(const char* what, TensorView value, const Stream& stream);

 private:
  Communicator& group_;
  Tensor gathered_;  // grows to the largest value
};

}  // namespace trireme
