#pragma once
// A step's sampling orders for the device from its plan, and its answers as the plan's result. Memory is reused from
// step to step. One thread, the worker's.

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
  void add_row(const PlanOutput& output, size_t i, const SamplingOrders* orders);

  const SlotTable& slots_;
  int64_t vocab_size_;
  SampleBatch batch_;
};

// Adds the answers of the first num_outputs rows of a ring entry, once they are on the host.
void read_outputs(StepResult& result, const ShardSampler& sampler, int entry, size_t num_outputs);

}  // namespace trireme
