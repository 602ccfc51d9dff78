#pragma once
// A step's sampling orders for the device from its plan, and its answers as the plan's result. Memory is reused from
// step to step, and so are the orders where a step asks for what the one before did: decoding goes on like that, and only
// positions move, which the device knows. One thread, the worker's.

#include <cstdint>
#include <span>

#include "parallel/plan/plan.h"
#include "runtime/sampling/shard_sampler.h"
#include "runtime/slot_table.h"

namespace trireme {

class SampleBatchBuilder {
 public:
  SampleBatchBuilder(const SlotTable& slots, int64_t vocab_size) : slots_(slots), vocab_size_(vocab_size) {}

  // Row i is outputs[i]. orders: null where none follow the plan. Valid until the next call.
  const SampleBatch& build(std::span<const PlanOutput> outputs, const SamplingOrders* orders);

 private:
  bool is_as_before(std::span<const PlanOutput> outputs) const;
  void add_row(const PlanOutput& output, size_t i, const SamplingOrders* orders);

  const SlotTable& slots_;
  int64_t vocab_size_;
  SampleBatch batch_;
  std::vector<PlanOutput> outputs_;  // of batch_; empty: its step had orders of its own
  uint64_t slots_version_ = 0;
  uint64_t num_batches_ = 0;
};

// Adds the answers of the first num_outputs rows of a ring entry, once they are on the host.
void read_outputs(StepResult& result, const ShardSampler& sampler, int entry, size_t num_outputs);

}  // namespace trireme
