#include "tests/coordinator/support/simulator.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "coordinator/engine.h"
#include "tests/coordinator/support/batch_checker.h"
#include "tests/coordinator/support/fake_executor.h"
#include "tests/coordinator/support/fake_port.h"
#include "tests/coordinator/support/ledger.h"
#include "tests/coordinator/support/scenario.h"

namespace trireme::test {
namespace {

constexpr int kMaxRounds = 20000;  // far more than any scenario needs: beyond it, something waits for ever

void print_plan(const StepPlan& plan) {
  fmt::print("step {} draws needed {}\n", plan.step, plan.draws_needed);
  const char* slot_kinds[] = {"open", "fork", "append", "close"};
  for (const SlotOrder& order : plan.slots) {
    fmt::print("  {} slot {} source {} history {}\n", slot_kinds[size_t(order.kind)], order.slot, order.source,
               order.history.size());
  }
  const char* block_kinds[] = {"append", "replace", "drop", "copy"};
  for (const BlockOrder& order : plan.blocks) {
    fmt::print("  {} group {} slot {} index {} block {} source {}\n", block_kinds[size_t(order.kind)], order.group,
               order.slot, order.index, order.block, order.source);
  }
  for (const PlanRow& row : plan.rows) {
    fmt::print("  row slot {} start {} count {}{}\n", row.slot, row.start, row.count,
               row.ids_begin < 0 ? " drawn" : "");
  }
  for (const PlanOutput& output : plan.outputs) {
    fmt::print("  {} slot {} row {} offset {} position {}\n", output.kind == OutputKind::draw ? "draw" : output.kind == OutputKind::score ? "score" : "candidates",
               output.slot, output.row, output.offset, output.position);
  }
}

void print_event(const EngineEvent& event) {
  if (const auto* token = std::get_if<TokenEvent>(&event)) {
    fmt::print("  request {} choice {} index {} id {} {}\n", token->request, token->choice, token->index,
               token->token.id, finish_reason_name(token->finish));
  } else if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) {
    fmt::print("  request {} failed: {}\n", failed->request, failed->message);
  }
}

class Simulation {
 public:
  Simulation(uint64_t seed, PlantedFault fault, bool trace)
      : scenario_(make_scenario(seed)),
        model_(scenario_.cluster, seed, scenario_.non_finite_period),
        executor_(model_, seed),
        ledger_(model_),
        batches_(scenario_.options.batching, scenario_.cluster.num_slots),
        engine_(port_, executor_, clock_, scenario_.options, fault),
        trace_(trace) {
    if (trace_) fmt::print("{}", describe(scenario_));
  }

  void run(Outcome& outcome) {
    size_t next = 0;
    for (bool running = true; running; ++outcome.rounds) {
      CHECK_LT(outcome.rounds, kMaxRounds) << "no end";
      clock_.time += std::chrono::milliseconds(7);
      for (; next < scenario_.commands.size() && scenario_.commands[next].round <= outcome.rounds; ++next) {
        ledger_.note(scenario_.commands[next].command);
        batches_.note(scenario_.commands[next].command, clock_.time);
        port_.commands.push_back(scenario_.commands[next].command);
      }
      running = engine_.step();
      check_round();
    }
    outcome.stats = engine_.scheduler().stats();
    check_end(outcome.stats);
  }

 private:
  void check_round() {
    if (trace_ && executor_.last_plan().step > traced_) print_plan(executor_.last_plan());
    if (executor_.last_plan().step > traced_) check_mixed(executor_.last_plan());
    traced_ = executor_.last_plan().step;
    const std::vector<EngineEvent> events = std::exchange(port_.events, {});
    batches_.check_round(std::exchange(port_.announced, {}), events, clock_.time);
    for (const EngineEvent& event : events) {
      if (trace_) print_event(event);
      ledger_.note(event);
    }
    engine_.scheduler().verify();
    const auto& groups = engine_.scheduler().blocks().groups();
    for (size_t group = 0; group < groups.size(); ++group) {
      for (BlockId block = 0; block < groups[group].total(); ++block) {
        if (groups[group].is_free(block)) executor_.scribble_block(group, block);
      }
    }
  }

  // Who decodes, but for beams, shares a plan with no more tokens of prompts than the limit, rounded up or not.
  void check_mixed(const StepPlan& plan) const {
    const int32_t limit = scenario_.options.mixed_prefill;
    const bool decodes = std::ranges::any_of(plan.outputs, [&plan](const PlanOutput& output) {
      return output.kind == OutputKind::draw && plan.rows[size_t(output.row)].ids_begin == kLastDrawn;
    });
    if (!decodes || limit == 0) return;
    CHECK_LT(int32_t(plan.row_ids.size()), limit + scenario_.options.mixed_step_multiple) << "beside decoding sequences";
  }

  void check_end(const EngineStats& stats) {
    ledger_.check_complete();
    CHECK(executor_.shut_down()) << "no shutdown plan";
    CHECK_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total) << "blocks at the end";
    CHECK_EQ(stats.running + stats.waiting, 0);
  }

  Scenario scenario_;
  FakeModel model_;
  FakeExecutor executor_;
  FakePort port_;
  FakeClock clock_;
  Ledger ledger_;
  BatchChecker batches_;
  Engine engine_;
  bool trace_;
  StepId traced_ = -1;
};

}  // namespace

Outcome simulate(uint64_t seed, PlantedFault fault, bool trace) {
  Outcome outcome;
  try {
    Simulation(seed, fault, trace).run(outcome);
  } catch (const std::exception& error) {
    outcome.error = fmt::format("seed {}, round {}: {}", seed, outcome.rounds, error.what());
  }
  return outcome;
}

}  // namespace trireme::test
