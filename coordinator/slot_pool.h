#pragma once
// The slot numbers sequences run in. A released slot is reused once every plan that could touch it has retired.
// Reserved slots are promised to choices that will fork from a prompt under computation.

#include <deque>
#include <utility>
#include <vector>

#include "base/check.h"
#include "coordinator/planted_fault.h"
#include "parallel/plan/plan.h"

namespace trireme {

class SlotPool final {
 public:
  explicit SlotPool(int32_t num_slots, PlantedFault fault = PlantedFault::none) : total_(num_slots), fault_(fault) {
    for (SlotId slot = num_slots - 1; slot >= 0; --slot) free_.push_back(slot);
  }

  int32_t total() const { return total_; }
  int32_t available() const { return int32_t(free_.size()) - reserved_; }
  int32_t num_retiring() const { return int32_t(retiring_.size()); }

  SlotId take() {
    CHECK_GT(available(), 0) << "no slot to take";
    return pop();
  }
  void reserve(int32_t count) {
    CHECK_GE(available(), count) << "slots to reserve";
    reserved_ += count;
  }
  SlotId take_reserved() {
    unreserve(1);
    return pop();
  }
  void unreserve(int32_t count) {
    CHECK_GE(reserved_, count) << "reserved slots";
    reserved_ -= count;
  }
  void release(SlotId slot, StepId last_plan) {
    const bool early = fault_ == PlantedFault::slot_reused_early || fault_ == PlantedFault::stale_result_applied;
    if (early) last_plan = retired_;
    if (last_plan <= retired_) return free_.push_back(slot);
    retiring_.emplace_back(last_plan, slot);
  }
  void retire(StepId step) {
    retired_ = step;
    for (; !retiring_.empty() && retiring_.front().first <= step; retiring_.pop_front()) {
      free_.push_back(retiring_.front().second);
    }
  }

 private:
  SlotId pop() {
    const SlotId slot = free_.back();
    free_.pop_back();
    return slot;
  }

  std::vector<SlotId> free_;  // a stack
  std::deque<std::pair<StepId, SlotId>> retiring_;
  int32_t total_ = 0, reserved_ = 0;
  StepId retired_ = -1;
  PlantedFault fault_;
};

}  // namespace trireme
