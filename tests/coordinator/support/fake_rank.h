#pragma once
// One pipeline stage: its own slots, block tables and blocks, changed by nothing but plans and by scribbling.

#include <span>
#include <vector>

#include "tests/coordinator/support/fake_model.h"

namespace trireme::test {

class FakeRank {
 public:
  FakeRank(const FakeModel& model, int stage);

  void apply_orders(const StepPlan& plan);
  // hidden: one value per token of the plan, from the stage below (stage 0: made here); replaced by this stage's.
  void run_rows(const StepPlan& plan, std::vector<uint64_t>& hidden);
  OutputResult sample(const PlanOutput& output, uint64_t hidden, std::span<const TokenId> banned) const;
  void apply_draw(SlotId slot, TokenId id);

  void scribble_slot(SlotId slot);
  void scribble_block(size_t group, BlockId block);  // no effect on one that is scribbled

  StepId executed = -1;       // last plan
  StepId draws_applied = -1;  // last step whose draws are in the slots

 private:
  struct Slot {
    int32_t length = 0;
    TokenId last_token = -1;
    int32_t adapter = 0;
    uint64_t counts = 0;
    bool failed = false;  // nothing could be drawn: what runs on means nothing
    SlotSampling sampling;
    std::vector<TokenId> suppressed;
    SlotLists lists;
    std::vector<std::vector<BlockId>> tables;  // [group]
  };
  void apply(const SlotOrder& order);
  void apply(const BlockOrder& order);
  KvEntry& entry(const Slot& slot, size_t group, int32_t position);
  uint64_t attend(const Slot& slot, int32_t position);

  const FakeModel& model_;
  int stage_;
  std::vector<Slot> slots_;
  std::vector<std::vector<KvEntry>> blocks_;  // [group][block * block_size + offset]
  std::vector<std::vector<bool>> written_;    // [group][block]: since it was scribbled
};

}  // namespace trireme::test
