#pragma once
// Simulated ranks, one per pipeline stage, that run plans in order at random legal times: a stage runs a plan after the
// one before it, after the stage below ran it, and after the draws it needs have arrived. Draws reach a stage no
// earlier than they must or at random before.

#include <deque>
#include <optional>
#include <random>

#include "tests/coordinator/support/fake_rank.h"
#include "tests/coordinator/support/plan_checker.h"

namespace trireme::test {

class FakeExecutor final : public Executor {
 public:
  FakeExecutor(const FakeModel& model, uint64_t seed);

  const ClusterInfo& info() const override { return model_.cluster(); }
  void submit(StepPlan plan) override;
  void submit_sampling(SamplingOrders orders) override;
  bool ready(StepId step) override;
  StepResult wait(StepId step) override;

  void scribble_block(size_t group, BlockId block);  // nobody may need it now

  const StepPlan& last_plan() const { return last_plan_; }
  int in_flight() const { return int(next_result_ < submitted_ ? submitted_ - next_result_ : 0); }
  bool shut_down() const { return last_plan_.shutdown; }

 private:
  struct Running {
    StepPlan plan;
    std::vector<uint64_t> hidden;  // by token, of the last stage that ran it
    std::vector<std::pair<SlotId, TokenId>> draws;
    StepResult result;
    std::optional<SamplingOrders> sampling;
  };
  bool done(StepId step) const;
  bool can_run(const FakeRank& rank, size_t stage) const;
  void run(size_t stage);
  void apply_draws(FakeRank& rank, StepId until);
  void finish_step(Running& running);
  Running& at(StepId step) { return running_[size_t(step - first_)]; }
  bool run_something();

  const FakeModel& model_;
  std::mt19937_64 random_;
  PlanChecker checker_;
  std::vector<FakeRank> ranks_;
  std::deque<Running> running_;                         // plans some stage may still ask about
  StepId first_ = 0, submitted_ = 0, next_result_ = 0;  // first_: step of running_.front()
  StepPlan last_plan_;
};

}  // namespace trireme::test
