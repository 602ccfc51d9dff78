// The life of a request: accepted, ended, cancelled, failed, refused.

#include <gtest/gtest.h>

#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::test {
namespace {

TEST(SchedulerRequests, EmitsTokensInOrderAndEndsAtMaxNewTokens) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 4, 2));
  harness.plan();
  harness.plan();
  const auto first = events_of<TokenEvent>(harness.retire(11));
  EXPECT_FALSE(harness.scheduler.next_plan()) << "both tokens are on their way";
  const auto second = events_of<TokenEvent>(harness.retire(12));
  ASSERT_EQ(first.size() + second.size(), 2u);
  EXPECT_EQ(first[0].index, 0);
  EXPECT_EQ(first[0].token.id, 11);
  EXPECT_EQ(first[0].finish, FinishReason::none);
  EXPECT_EQ(second[0].index, 1);
  EXPECT_EQ(second[0].finish, FinishReason::length);
  EXPECT_FALSE(harness.scheduler.has_unfinished());
}

TEST(SchedulerRequests, ScoresAPromptOfTheModelsLengthAndDrawsNothing) {
  SchedulerHarness harness;
  Request request = make_request(1, 64, 0);
  request.sampling.prompt_logprobs = 0;
  validate(request, 1000, 64);
  harness.scheduler.add(request);
  size_t scores = 0;
  std::vector<TokenEvent> ends;
  while (auto plan = harness.scheduler.next_plan()) {
    StepResult result;
    result.step = plan->step;
    for (const PlanOutput& output : plan->outputs) {
      EXPECT_EQ(output.kind, OutputKind::score);
      OutputResult& score = result.outputs.emplace_back();
      score.token = {output.target, -1.0f};
    }
    harness.scheduler.on_result(result);
    const auto events = harness.scheduler.take_events();
    for (const auto& event : events_of<PromptLogprobsEvent>(events)) scores += event.tokens.size();
    for (const auto& event : events_of<TokenEvent>(events)) ends.push_back(event);
  }
  EXPECT_EQ(scores, 63u);
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0].token.id, -1);
  EXPECT_EQ(ends[0].finish, FinishReason::length);
  EXPECT_FALSE(harness.scheduler.has_unfinished());
  harness.scheduler.verify();
}

TEST(SchedulerRequests, ARequestWithNothingToScoreOrDrawEndsAtOnce) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 5, 0));
  const auto events = events_of<TokenEvent>(harness.scheduler.take_events());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::length);
  EXPECT_FALSE(harness.scheduler.has_unfinished());
}

TEST(SchedulerRequests, EndsAtTheModelsLength) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 62, 30));
  for (int chunk = 0; chunk < 4; ++chunk) harness.step();
  EXPECT_EQ(events_of<TokenEvent>(harness.step()).at(0).finish, FinishReason::length);
}

TEST(SchedulerRequests, DropsTheRowThatRanBeyondAStopId) {
  SchedulerHarness harness;
  Request request = make_request(1, 4);
  request.eos_token_ids = {50};
  harness.scheduler.add(request);
  harness.plan();
  harness.plan();
  const auto end = events_of<TokenEvent>(harness.retire(50));
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0].finish, FinishReason::stop);
  EXPECT_EQ(end[0].stop_id, 50);
  EXPECT_TRUE(harness.retire(51).empty());
  const EngineStats stats = harness.scheduler.stats();
  EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
}

TEST(SchedulerRequests, IgnoresEosWhenAskedToButNotStopIds) {
  SchedulerHarness harness;
  Request request = make_request(1, 4);
  request.eos_token_ids = {50};
  request.sampling.stop_token_ids = {51};
  request.sampling.ignore_eos = true;
  harness.scheduler.add(request);
  EXPECT_EQ(events_of<TokenEvent>(harness.step(50)).at(0).finish, FinishReason::none);
  EXPECT_EQ(events_of<TokenEvent>(harness.step(51)).at(0).finish, FinishReason::stop);
}

TEST(SchedulerRequests, SuppressesStopIdsUntilMinNewTokens) {
  SchedulerHarness harness;
  Request request = make_request(1, 4);
  request.eos_token_ids = {50};
  request.sampling.stop_token_ids = {51, 50};
  request.sampling.min_new_tokens = 2;
  harness.scheduler.add(request);
  const StepPlan first = harness.plan();
  EXPECT_EQ(first.slots[0].suppressed, (std::vector<TokenId>{50, 51}));
  EXPECT_TRUE(first.outputs[0].suppress);
  EXPECT_TRUE(harness.plan().outputs[0].suppress);
  harness.retire();
  EXPECT_FALSE(harness.plan().outputs[0].suppress);
}

TEST(SchedulerRequests, ACancelEndsEveryChoiceOnce) {
  SchedulerHarness harness;
  Request request = make_request(1, 6);
  request.sampling.n = 2;
  harness.scheduler.add(request);
  harness.plan();
  harness.scheduler.cancel(1);
  const auto ends = events_of<TokenEvent>(harness.scheduler.take_events());
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(ends[1].finish, FinishReason::abort);
  EXPECT_EQ(ends[1].token.id, -1);
  EXPECT_TRUE(harness.retire().empty());
  harness.scheduler.cancel(1);
  EXPECT_TRUE(harness.scheduler.take_events().empty());
}

TEST(SchedulerRequests, AReplayedRequestGoesOnBehindWhatItHadEmitted) {
  SchedulerHarness harness;
  Request request = make_request(1, 6, 5);
  request.sampling.n = 3;
  request.emitted = {{0, false, {70, 71}}, {1, true, {72}}, {2, false, {73}}};
  harness.scheduler.add(request);
  const StepPlan plan = harness.plan();
  EXPECT_EQ(count_orders(plan, SlotOrderKind::open), 2);
  EXPECT_EQ(count_orders(plan, SlotOrderKind::fork), 0);
  EXPECT_EQ(plan.slots[0].history.size(), 8u);
  EXPECT_EQ(plan.slots[0].prompt_length, 6);
  EXPECT_EQ(plan.outputs[0].position, 8);
  const auto events = events_of<TokenEvent>(harness.retire());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].index, 2);
  EXPECT_EQ(events[1].choice, 2);
  EXPECT_EQ(events[1].index, 1);
}

TEST(SchedulerRequests, AReplayedChoiceWhoseLastIdWasItsEndOnlyEnds) {
  SchedulerHarness harness;
  Request request = make_request(1, 6, 2);
  request.emitted = {{0, false, {70, 71}}};
  harness.scheduler.add(request);
  const auto events = events_of<TokenEvent>(harness.scheduler.take_events());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::length);
  EXPECT_EQ(events[0].index, 2);
  EXPECT_FALSE(harness.scheduler.has_unfinished());
}

TEST(SchedulerRequests, NonFiniteLogitsFailTheirRequestAndItsCacheButNotTheBatch) {
  SchedulerHarness harness;
  harness.scheduler.add(make_request(1, 6, 1));
  harness.scheduler.add(make_request(2, 6, 1));
  StepResult result{.step = harness.plan().step, .outputs = {}, .device_ms = 1};
  result.outputs.resize(2);
  result.outputs[0].non_finite = true;
  result.outputs[1].token = {9, -1.0f};
  const auto events = harness.retire(result);
  const auto failures = events_of<RequestFailedEvent>(events);
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].request, 1u);
  EXPECT_FALSE(failures[0].client_fault);
  EXPECT_EQ(events_of<TokenEvent>(events).at(0).request, 2u);
  harness.scheduler.add(make_request(1, 6, 1));
  EXPECT_EQ(harness.plan().rows[0].start, 0) << "bad contents are no prefix hit";
}

TEST(SchedulerRequests, RefusesWhatCanNeverFitWithFiguresAndRemedy) {
  SchedulerHarness harness(small_cluster(1, 4));
  harness.scheduler.add(make_request(1, 16, 8));
  Request wide = make_request(2, 4);
  wide.sampling.n = 9;
  harness.scheduler.add(wide);
  const auto failures = events_of<RequestFailedEvent>(harness.scheduler.take_events());
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_TRUE(failures[0].client_fault);
  EXPECT_NE(failures[0].message.find("24 tokens of prompt and output need 6 KV blocks"), std::string::npos)
      << failures[0].message;
  EXPECT_NE(failures[0].message.find("lower max_new_tokens"), std::string::npos);
  EXPECT_NE(failures[1].message.find("n = 9"), std::string::npos);
  EXPECT_FALSE(harness.scheduler.has_unfinished());
}

TEST(SchedulerRequests, ARequestThatFitsExactlyRuns) {
  SchedulerHarness harness(small_cluster(1, 4));
  harness.scheduler.add(make_request(1, 9, 8));  // 17 tokens, of which the last is never computed
  while (harness.scheduler.has_unfinished()) harness.step();
  EXPECT_EQ(harness.scheduler.stats().generated_tokens, 8);
}

TEST(SchedulerRequests, RefusesWhatComesBeyondTheWaitingQueue) {
  SchedulerHarness harness(small_cluster(), {.max_waiting = 2});
  for (RequestId id = 1; id <= 3; ++id) harness.scheduler.add(make_request(id, 4));
  const auto failures = events_of<RequestFailedEvent>(harness.scheduler.take_events());
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].request, 3u);
  EXPECT_FALSE(failures[0].client_fault);
}

}  // namespace
}  // namespace trireme::test
