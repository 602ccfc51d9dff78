#pragma once
// What the coordinator knows of the cluster, and the one thing it asks of it: run plans in order.

#include <cstdint>
#include <vector>

#include "parallel/plan/plan.h"

namespace trireme {

struct KvGroupInfo {
  int32_t block_size = 16;        // tokens per block
  int32_t num_blocks = 0;         // minimum over the ranks
  int32_t window = 0;             // 0: full attention
};

struct ClusterInfo {
  int32_t world = 1, tp = 1, pp = 1;
  int32_t num_slots = 256;            // sequences open at once
  int32_t max_batched_tokens = 2048;  // rows' tokens per plan
  int32_t max_logit_rows = 256;       // outputs per plan
  int32_t max_model_len = 0;          // tokens of prompt + output
  int32_t max_blocks_per_slot = 0;    // per group table length
  int64_t vocab_size = 0;
  std::vector<KvGroupInfo> groups;
  int max_in_flight() const { return pp + 1; }
};

// One caller thread (the engine's). Step ids are consecutive. At most info().max_in_flight() plans may be
// submitted and not yet waited for. A failure of any rank ends the process from below: calls never return an error.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual const ClusterInfo& info() const = 0;
  virtual void submit(StepPlan plan) = 0;                      // returns at once
  virtual void submit_sampling(SamplingOrders orders) = 0;     // for a submitted plan with sampling_follows
  virtual bool ready(StepId step) = 0;                         // would wait() return at once?
  virtual StepResult wait(StepId step) = 0;                    // in step order; clean status from every rank
};

}  // namespace trireme
