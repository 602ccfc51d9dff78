#include "tests/coordinator/support/fake_executor.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::test {

FakeExecutor::FakeExecutor(const FakeModel& model, uint64_t seed)
    : model_(model), random_(seed), checker_(model.cluster()) {
  for (int stage = 0; stage < model.cluster().pp; ++stage) ranks_.emplace_back(model, stage);
}

void FakeExecutor::submit(StepPlan plan) {
  checker_.submit(
      plan,
      [&](SlotId slot) {
        for (FakeRank& rank : ranks_) rank.scribble_slot(slot);
      },
      [&](size_t group, BlockId block) { scribble_block(group, block); });
  last_plan_ = plan;
  if (plan.shutdown) {
    CHECK_EQ(next_result_, submitted_) << "the last plan before all results";
    return;
  }
  CHECK_LT(in_flight(), info().max_in_flight()) << "plans in flight";
  ++submitted_;
  Running& running = running_.emplace_back();
  running.plan = std::move(plan);
  for (auto chances = random_() % 4; chances > 0; --chances) run_something();
}

void FakeExecutor::submit_sampling(SamplingOrders orders) {
  CHECK(orders.step >= next_result_ && orders.step < submitted_) << "sampling orders of step" << orders.step;
  Running& running = at(orders.step);
  CHECK(running.plan.sampling_follows && !running.sampling) << "sampling orders nobody waits for";
  CHECK_EQ(orders.bias_begin.size(), running.plan.outputs.size() + 1) << "sampling orders of step" << orders.step;
  running.sampling = std::move(orders);
}

void FakeExecutor::scribble_block(size_t group, BlockId block) {
  for (FakeRank& rank : ranks_) rank.scribble_block(group, block);
}

bool FakeExecutor::can_run(const FakeRank& rank, size_t stage) const {
  const StepId step = rank.executed + 1;
  if (step >= submitted_) return false;
  if (stage > 0 && ranks_[stage - 1].executed < step) return false;
  const Running& running = running_[size_t(step - first_)];
  if (stage + 1 == ranks_.size() && running.plan.sampling_follows && !running.sampling) return false;
  return running.plan.draws_needed <= ranks_.back().executed;
}

bool FakeExecutor::run_something() {
  const size_t start = random_() % ranks_.size();
  for (size_t index = 0; index < ranks_.size(); ++index) {
    const size_t stage = (start + index) % ranks_.size();
    if (!can_run(ranks_[stage], stage)) continue;
    run(stage);
    return true;
  }
  return false;
}

void FakeExecutor::run(size_t stage) {
  FakeRank& rank = ranks_[stage];
  Running& running = at(rank.executed + 1);
  const StepId newest =
      stage + 1 == ranks_.size() ? running.plan.step - 1 : std::min(running.plan.step - 1, ranks_.back().executed);
  StepId until = newest;
  if (stage + 1 < ranks_.size() && random_() % 4 != 0)
    until = std::min(newest, std::max(running.plan.draws_needed, rank.draws_applied));
  apply_draws(rank, until);
  rank.apply_orders(running.plan);
  rank.run_rows(running.plan, running.hidden);
  ++rank.executed;
  if (stage + 1 == ranks_.size()) finish_step(running);
}

void FakeExecutor::apply_draws(FakeRank& rank, StepId until) {
  for (; rank.draws_applied < until; ++rank.draws_applied) {
    for (const auto& [slot, id] : at(rank.draws_applied + 1).draws) rank.apply_draw(slot, id);
  }
}

void FakeExecutor::finish_step(Running& running) {
  std::vector<size_t> begins;
  size_t tokens = 0;
  for (const PlanRow& row : running.plan.rows) {
    begins.push_back(tokens);
    tokens += size_t(row.count);
  }
  running.result.step = running.plan.step;
  for (size_t index = 0; index < running.plan.outputs.size(); ++index) {
    const PlanOutput& output = running.plan.outputs[index];
    const uint64_t hidden = running.hidden[begins[size_t(output.row)] + size_t(output.offset)];
    std::span<const TokenId> banned;
    if (const auto& orders = running.sampling)
      banned = std::span(orders->bias_ids.begin() + orders->bias_begin[index],
                         orders->bias_ids.begin() + orders->bias_begin[index + 1]);
    running.result.outputs.push_back(ranks_.back().sample(output, hidden, banned));
    if (output.kind == OutputKind::draw)
      running.draws.emplace_back(output.slot, running.result.outputs.back().token.id);
  }
}

bool FakeExecutor::ready(StepId step) {
  run_something();
  return done(step);
}

bool FakeExecutor::done(StepId step) const {
  return std::ranges::all_of(ranks_, [&](const FakeRank& rank) { return rank.executed >= step; });
}

StepResult FakeExecutor::wait(StepId step) {
  CHECK_EQ(step, next_result_) << "results are taken in order";
  CHECK_LT(step, submitted_) << "a result of a plan that was not submitted";
  while (!done(step)) CHECK(run_something()) << "step" << step << "waits for ever";
  ++next_result_;
  StepResult result = std::move(at(step).result);
  const auto needed = std::ranges::min_element(ranks_, {}, &FakeRank::draws_applied)->draws_applied;
  for (; first_ <= std::min(needed, next_result_ - 1); ++first_) running_.pop_front();
  return result;
}

}  // namespace trireme::test
