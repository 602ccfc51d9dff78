#pragma once
// What a layer sees of the step it runs in: all of its tokens, or one half of them.

#include "kernels/attention.h"
#include "parallel/communicator.h"
#include "runtime/kv_pool.h"
#include "runtime/peer_sums.h"
#include "runtime/sum_stream.h"
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
  int64_t first_token = 0;              // of the step's
  SumStream* sum_stream = nullptr;      // where the layers' sums over tp_group go; null: on `stream`
  int half = 0;                         // on sum_stream
  int64_t num_tokens() const { return ids.dim(0); }
  TensorView rows_of(TensorView all) const { return all.slice(0, first_token, first_token + num_tokens()); }
};

}  // namespace trireme
