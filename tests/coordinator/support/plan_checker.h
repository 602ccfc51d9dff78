#pragma once
// Holds every submitted plan against the rules of parallel/plan/plan.h, with its own record of slots and tables.

#include <functional>
#include <map>
#include <vector>

#include "parallel/plan/executor.h"

namespace trireme::test {

class PlanChecker {
 public:
  explicit PlanChecker(const ClusterInfo& cluster);

  // CHECKs the plan. Calls back for slots and blocks that come into use with it: what they held may be gone by
  // now, since whoever could touch them has retired.
  void submit(const StepPlan& plan, const std::function<void(SlotId)>& fresh_slot,
              const std::function<void(size_t group, BlockId)>& fresh_block);

 private:
  struct Slot {
    bool open = false;
    int32_t length = 0;                        // of the history, draws in flight included
    std::vector<TokenId> history;              // as opened
    std::vector<std::vector<BlockId>> tables;  // [group]; -1: dropped
  };
  void apply(const SlotOrder& order, const std::function<void(SlotId)>& fresh_slot);
  void apply(const BlockOrder& order, const StepPlan& plan, const std::function<void(size_t, BlockId)>& fresh_block);
  void check_row(const StepPlan& plan, const PlanRow& row);
  void check_write(const StepPlan& plan, SlotId slot, size_t group, int32_t position) const;
  void check_outputs(const StepPlan& plan);
  void drop_behind_window(SlotId slot, int32_t end);
  void hold(size_t group, BlockId block, int32_t by);
  Slot& open_slot(SlotId slot);

  ClusterInfo cluster_;
  std::vector<Slot> slots_;
  std::vector<std::vector<int32_t>> holders_;  // [group][block]: tables of open slots
  StepId next_step_ = 0;
  bool shut_down_ = false;
};

}  // namespace trireme::test
