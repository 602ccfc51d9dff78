#include "coordinator/scheduler.h"

#include <gtest/gtest.h>

#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::test {
namespace {

TEST(Scheduler, SendsTheHistoryAndComputesThePromptInOnePlanWhenItFits) {
  SchedulerHarness harness;
  const Request request = make_request(1, 6);
  harness.scheduler.add(request);
  const StepPlan plan = harness.plan();
  ASSERT_EQ(plan.slots.size(), 1u);
  EXPECT_EQ(plan.slots[0].kind, SlotOrderKind::open);
  EXPECT_EQ(plan.slots[0].history, request.prompt);
  EXPECT_EQ(plan.slots[0].prompt_length, 6);
  EXPECT_EQ(plan.rows, (std::vector<PlanRow>{{plan.slots[0].slot, 0, 6, 0}}));
  EXPECT_EQ(plan.row_ids, request.prompt);
  EXPECT_EQ(count_orders(plan, BlockOrderKind::append), 2);
  ASSERT_EQ(plan.outputs.size(), 1u);
  EXPECT_EQ(plan.outputs[0].position, 6);
  EXPECT_EQ(plan.outputs[0].offset, 5);
  EXPECT_EQ(harness.scheduler.planned_requests(), std::vector<RequestId>{1});
}

TEST(Scheduler, CutsALongPromptIntoChunksAndDrawsAfterTheLast) {
  SchedulerHarness harness(small_cluster(), {.prefill_chunk = 5});
  harness.scheduler.add(make_request(1, 12));
  std::vector<int32_t> starts;
  for (int chunk = 0; chunk < 3; ++chunk) {
    const StepPlan plan = harness.plan();
    starts.push_back(plan.rows[0].start);
    EXPECT_EQ(plan.outputs.size(), chunk == 2 ? 1u : 0u);
    harness.retire();
  }
  EXPECT_EQ(starts, (std::vector<int32_t>{0, 5, 10}));
}

TEST(Scheduler, HasChunksOfOnePromptInFlightTogether) {
  SchedulerHarness harness(small_cluster(3), {.prefill_chunk = 4});
  harness.scheduler.add(make_request(1, 16));
  for (int32_t chunk = 0; chunk < 4; ++chunk) EXPECT_EQ(harness.plan().rows[0].start, 4 * chunk);
  EXPECT_FALSE(harness.scheduler.next_plan()) << "pp + 1 plans are in flight";
}

TEST(Scheduler, TakesDecodeRowsBeforePromptChunks) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 4));
  harness.plan();
  harness.scheduler.add(make_request(2, 30));
  const StepPlan plan = harness.plan();
  ASSERT_EQ(plan.rows.size(), 2u);
  EXPECT_EQ(plan.rows[0].ids_begin, kLastDrawn);
  EXPECT_EQ(plan.rows[1].count, 15) << "what the decode row left of 16 tokens";
}

TEST(Scheduler, SubmitsTheNextRowBeforeTheDrawnIdIsOnTheHost) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 4));
  const StepPlan first = harness.plan();
  const StepPlan second = harness.plan();
  EXPECT_EQ(second.rows, (std::vector<PlanRow>{{0, 4, 1, kLastDrawn}}));
  EXPECT_EQ(second.draws_needed, first.step);
  EXPECT_EQ(second.outputs[0].position, 5);
  EXPECT_FALSE(harness.scheduler.next_plan());
}

TEST(Scheduler, NeedsTheDrawsOfAllRetiredStepsEvenWithoutDecodeRows) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 4, 1));
  harness.step();
  harness.scheduler.add(make_request(2, 4));
  EXPECT_EQ(harness.plan().draws_needed, 0);
}

TEST(Scheduler, SpreadsDecodeRowsOverThePipeline) {
  SchedulerHarness harness(small_cluster(2));
  harness.scheduler.add(make_request(1, 4, 20));
  harness.scheduler.add(make_request(2, 4, 20));
  harness.step();
  for (int step = 0; step < 8; ++step) {
    const StepPlan plan = harness.plan();
    EXPECT_EQ(plan.rows.size(), 1u);
    if (harness.in_flight.size() > 1) {
      EXPECT_NE(plan.rows[0].slot, harness.in_flight[harness.in_flight.size() - 2].rows[0].slot);
      EXPECT_LT(plan.draws_needed, plan.step - 1) << "no stage waits for the plan just before";
    }
    if (harness.in_flight.size() == 3) harness.retire();
  }
}

TEST(Scheduler, ALoneSequenceFillsThePipelineWithoutTheHost) {
  SchedulerHarness harness(small_cluster(2));
  harness.scheduler.add(make_request(1, 4, 20));
  for (StepId step = 0; step < 3; ++step) EXPECT_EQ(harness.plan().draws_needed, step - 1);
}

TEST(Scheduler, ChoicesForkFromOnePromptAndReadTheSameRow) {
  SchedulerHarness harness;
  Request request = make_request(1, 6);
  request.sampling.n = 3;
  harness.scheduler.add(request);
  const StepPlan plan = harness.plan();
  EXPECT_EQ(count_orders(plan, SlotOrderKind::open), 1);
  EXPECT_EQ(count_orders(plan, SlotOrderKind::fork), 2);
  EXPECT_EQ(plan.rows.size(), 1u);
  ASSERT_EQ(plan.outputs.size(), 3u);
  for (const PlanOutput& output : plan.outputs) {
    EXPECT_EQ(output.row, 0);
    EXPECT_EQ(output.offset, 5);
    EXPECT_EQ(output.position, 6);
  }
  EXPECT_EQ(plan.slots[1].source, plan.slots[0].slot);
  EXPECT_EQ(plan.slots[2].sampling.choice, 2);
  EXPECT_EQ(count_orders(plan, BlockOrderKind::append), 6) << "the plan's new blocks go into every table";
  EXPECT_EQ(harness.scheduler.stats().blocks_free, 62) << "of which there are two";
}

TEST(Scheduler, AllSharersButOneCopyThePartialBlockAtTheirFirstWrite) {
  SchedulerHarness harness;
  Request request = make_request(1, 6);
  request.sampling.n = 3;
  harness.scheduler.add(request);
  EXPECT_EQ(count_orders(harness.plan(), BlockOrderKind::copy), 0);
  const StepPlan next = harness.plan();
  EXPECT_EQ(count_orders(next, BlockOrderKind::copy), 2);
  EXPECT_EQ(count_orders(next, BlockOrderKind::replace), 2);
  harness.retire();
  EXPECT_EQ(count_orders(harness.plan(), BlockOrderKind::copy), 0);
}

TEST(Scheduler, ChoicesOfAPromptThatFillsItsBlocksCopyNothing) {
  SchedulerHarness harness;
  Request request = make_request(1, 8);
  request.sampling.n = 2;
  harness.scheduler.add(request);
  harness.plan();
  EXPECT_EQ(count_orders(harness.plan(), BlockOrderKind::copy), 0);
}

TEST(Scheduler, APrefixHitSkipsComputedBlocksButSendsTheWholeHistory) {
  SchedulerHarness harness;
  Request first = make_request(1, 10, 1), second = make_request(2, 12);
  second.prompt = first.prompt;
  second.prompt.push_back(77);
  harness.scheduler.add(first);
  harness.step();
  harness.scheduler.add(second);
  const StepPlan plan = harness.plan();
  EXPECT_EQ(plan.slots.back().history, second.prompt);
  EXPECT_EQ(plan.rows[0].start, 8);
  EXPECT_EQ(plan.rows[0].count, 3);
  EXPECT_EQ(events_of<TokenEvent>(harness.retire()).at(0).cached_tokens, 8);
}

TEST(Scheduler, AHitOfTheWholePromptStillComputesItsLastBlock) {
  SchedulerHarness harness;
  Request request = make_request(1, 8, 1);
  harness.scheduler.add(request);
  harness.step();
  request.id = 2;
  harness.scheduler.add(request);
  EXPECT_EQ(harness.plan().rows[0].start, 4);
}

TEST(Scheduler, OtherSaltsAndScoredPromptsHitNothing) {
  SchedulerHarness harness;
  Request request = make_request(1, 8, 1);
  harness.scheduler.add(request);
  harness.step();
  request.id = 2;
  request.cache_salt = 5;
  harness.scheduler.add(request);
  EXPECT_EQ(harness.plan().rows[0].start, 0);
  harness.retire();
  request.id = 3;
  request.cache_salt = 0;
  request.sampling.prompt_logprobs = 0;
  harness.scheduler.add(request);
  EXPECT_EQ(harness.plan().rows[0].start, 0);
}

TEST(Scheduler, ScoresThePromptInSlicesOfTheLogitRows) {
  SchedulerHarness harness;  // 8 logit rows
  Request request = make_request(1, 14, 1);
  request.sampling.prompt_logprobs = 0;
  harness.scheduler.add(request);
  const StepPlan first = harness.plan();
  EXPECT_EQ(first.rows[0].count, 8);
  EXPECT_EQ(first.outputs.size(), 8u);
  EXPECT_EQ(first.outputs[0].kind, OutputKind::score);
  EXPECT_EQ(first.outputs[0].position, 1);
  EXPECT_EQ(first.outputs[0].target, request.prompt[1]);
  const StepPlan second = harness.plan();
  EXPECT_EQ(second.outputs.size(), 6u) << "positions 9 to 13 and the draw";
  const auto scores = events_of<PromptLogprobsEvent>(harness.retire());
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0].first_position, 1);
  EXPECT_EQ(scores[0].tokens.size(), 8u);
  const auto rest = harness.retire();
  EXPECT_EQ(events_of<PromptLogprobsEvent>(rest).at(0).first_position, 9);
  EXPECT_EQ(events_of<TokenEvent>(rest).size(), 1u);
}

TEST(Scheduler, PreemptsTheYoungestWhenBlocksRunOutAndResumesItWithItsHistory) {
  SchedulerHarness harness(small_cluster(1, 5), {.enable_prefix_caching = false});
  const Request young = make_request(2, 7, 9);
  harness.scheduler.add(make_request(1, 7, 12));
  harness.scheduler.add(young);
  std::vector<TokenId> drawn;
  StepPlan reopened;
  for (TokenId id = 60; harness.scheduler.has_unfinished() && id < 99; ++id) {
    if (auto next = harness.scheduler.next_plan()) {
      harness.in_flight.push_back(*next);
      for (const SlotOrder& order : next->slots) {
        if (order.kind == SlotOrderKind::open && order.history.size() > 7) reopened = *next;
      }
    }
    for (const TokenEvent& event : events_of<TokenEvent>(harness.retire(id))) {
      if (event.request == 2) drawn.push_back(event.token.id);
    }
  }
  EXPECT_GE(harness.scheduler.stats().preemptions, 1);
  EXPECT_EQ(drawn.size(), 9u);
  const auto open = std::ranges::find(reopened.slots, SlotOrderKind::open, &SlotOrder::kind);
  ASSERT_NE(open, reopened.slots.end());
  const auto known = int32_t(open->history.size());
  EXPECT_TRUE(std::equal(open->history.begin() + 7, open->history.end(), drawn.begin()));
  EXPECT_EQ(open->prompt_length, 7);
  EXPECT_EQ(reopened.outputs.back().position, known) << "sampling goes on at the position it had";
}

TEST(Scheduler, WaitsForRetiringBlocksInsteadOfPreemptingAgain) {
  SchedulerHarness harness(small_cluster(1, 5), {.enable_prefix_caching = false});
  harness.scheduler.add(make_request(1, 8, 9));
  harness.scheduler.add(make_request(2, 4, 9));
  for (int step = 0; step < 5; ++step) {
    harness.plan();
    if (step > 0) harness.retire();
  }
  EXPECT_FALSE(harness.scheduler.next_plan()) << "the preempted blocks are still being read";
  EXPECT_EQ(harness.scheduler.stats().preemptions, 1);
  harness.retire();
  const StepPlan plan = harness.plan();
  EXPECT_EQ(plan.rows.size(), 1u);
  EXPECT_EQ(count_orders(plan, SlotOrderKind::close), 1);
}

TEST(Scheduler, ReusesASlotOnlyWhenThePlansOfItsLastOwnerHaveRetired) {
  ClusterInfo cluster = small_cluster();
  cluster.num_slots = 1;
  SchedulerHarness harness(cluster);
  Request request = make_request(1, 4);
  request.eos_token_ids = {50};
  harness.scheduler.add(request);
  harness.scheduler.add(make_request(2, 4));
  harness.plan();
  harness.plan();
  harness.retire(50);
  EXPECT_FALSE(harness.scheduler.next_plan()) << "a wasted row of the first is in flight";
  harness.retire();
  const StepPlan plan = harness.plan();
  ASSERT_EQ(plan.slots.size(), 2u);
  EXPECT_EQ(plan.slots[0].kind, SlotOrderKind::close);
  EXPECT_EQ(plan.slots[1].kind, SlotOrderKind::open);
}

TEST(Scheduler, AdmitsByPriorityThenArrivalWithoutOvertaking) {
  ClusterInfo cluster = small_cluster();
  cluster.num_slots = 1;
  SchedulerHarness harness(cluster);
  Request urgent = make_request(3, 4, 1);
  urgent.priority = -1;
  harness.scheduler.add(make_request(1, 4, 1));
  harness.scheduler.add(make_request(2, 4, 1));
  harness.scheduler.add(urgent);
  std::vector<RequestId> order;
  while (harness.scheduler.has_unfinished()) {
    harness.plan();
    order.push_back(harness.scheduler.planned_requests().at(0));
    harness.retire();
  }
  EXPECT_EQ(order, (std::vector<RequestId>{3, 1, 2}));
}

TEST(Scheduler, EveryDecodingSequenceGetsItsTurnWhenAPlanCannotTakeAll) {
  ClusterInfo cluster = small_cluster();
  cluster.max_batched_tokens = 2;
  SchedulerHarness harness(cluster);
  Request request = make_request(1, 2, 40);
  request.sampling.n = 4;
  harness.scheduler.add(request);
  harness.step();
  std::map<int32_t, int> tokens;
  for (int step = 0; step < 20; ++step) {
    for (const TokenEvent& event : events_of<TokenEvent>(harness.step())) ++tokens[event.choice];
  }
  for (int32_t choice = 0; choice < 4; ++choice) EXPECT_EQ(tokens[choice], 10) << choice;
}

TEST(Scheduler, DropsBlocksBehindAWindow) {
  ClusterInfo cluster = small_cluster(1, 5);
  cluster.groups[0].window = 6;
  SchedulerHarness harness(cluster, {.prefill_chunk = 4});
  harness.scheduler.add(make_request(1, 40, 8));
  int dropped = 0;
  while (harness.scheduler.has_unfinished()) {
    dropped += count_orders(harness.plan(), BlockOrderKind::drop_prefix);
    harness.retire();
  }
  EXPECT_GT(dropped, 5);
}

}  // namespace
}  // namespace trireme::test
