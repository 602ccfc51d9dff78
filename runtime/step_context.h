#pragma once
// What a layer sees of the step it runs in.

#include "kernels/attention.h"
#include "parallel/communicator.h"
#include "runtime/kv_pool.h"
#include "runtime/peer_sums.h"
#include "runtime/workspace.h"

namespace trireme {

struct StepContext {
  Device device;
  const Stream& stream;
  Workspace& workspace;
  Communicator& tp_group;
  const PeerSums& peer_sums;
  KvPool& kv_pool;
  TensorView ids;                       // [T] i32, resolved
  std::vector<AttentionBatch> batches;  // by KV group: the same tokens, each group's block table
  int64_t num_tokens() const { return ids.dim(0); }
};

}  // namespace trireme
