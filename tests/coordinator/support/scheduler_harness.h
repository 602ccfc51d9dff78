#pragma once
// Requests in, plans out: a scheduler, and results that a test writes by hand.

#include <algorithm>
#include <deque>

#include "base/check.h"
#include "coordinator/scheduler.h"

namespace trireme::test {

inline ClusterInfo small_cluster(int pp = 1, int32_t num_blocks = 64) {
  ClusterInfo cluster;
  cluster.pp = cluster.world = pp;
  cluster.num_slots = 8;
  cluster.max_batched_tokens = 16;
  cluster.max_logit_rows = 8;
  cluster.max_model_len = 64;
  cluster.max_blocks_per_slot = 64;
  cluster.vocab_size = 100;
  cluster.groups = {KvGroupInfo{.block_size = 4, .num_blocks = num_blocks}};
  return cluster;
}

inline Request make_request(RequestId id, int32_t prompt_tokens, int32_t max_new_tokens = 8) {
  Request request;
  request.id = id;
  for (int32_t index = 0; index < prompt_tokens; ++index) request.prompt.push_back(int32_t(id) * 7 % 50 + index);
  request.sampling.max_new_tokens = max_new_tokens;
  return request;
}

struct SchedulerHarness {
  explicit SchedulerHarness(const ClusterInfo& cluster = small_cluster(), const SchedulerOptions& options = {})
      : scheduler(cluster, options) {}

  StepPlan plan() {
    auto next = scheduler.next_plan();
    CHECK(next.has_value()) << "no plan";
    in_flight.push_back(*next);
    scheduler.verify();
    return *next;
  }

  // The oldest plan's result: every draw gives `id`, scores give their targets.
  std::vector<EngineEvent> retire(TokenId id = 99) {
    StepResult result;
    result.step = in_flight.front().step;
    for (const PlanOutput& output : in_flight.front().outputs) {
      OutputResult& one = result.outputs.emplace_back();
      one.token = {output.kind == OutputKind::score ? output.target : id, -1.0f};
      one.rank = 1;
    }
    return retire(result);
  }
  std::vector<EngineEvent> retire(const StepResult& result) {
    in_flight.pop_front();
    scheduler.on_result(result);
    scheduler.verify();
    return scheduler.take_events();
  }
  std::vector<EngineEvent> step(TokenId id = 99) {
    plan();
    return retire(id);
  }

  Scheduler scheduler;
  std::deque<StepPlan> in_flight;
};

template <typename Event>
std::vector<Event> events_of(const std::vector<EngineEvent>& events) {
  std::vector<Event> found;
  for (const EngineEvent& event : events) {
    if (const auto* one = std::get_if<Event>(&event)) found.push_back(*one);
  }
  return found;
}

inline int count_orders(const StepPlan& plan, SlotOrderKind kind) {
  return int(std::ranges::count(plan.slots, kind, &SlotOrder::kind));
}
inline int count_orders(const StepPlan& plan, BlockOrderKind kind) {
  return int(std::ranges::count(plan.blocks, kind, &BlockOrder::kind));
}

}  // namespace trireme::test
