// The batching policies through the scheduler, with results written by hand; the simulator plays them at random.

#include <gtest/gtest.h>

#include "coordinator/batching.h"
#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::test {
namespace {

using std::chrono::milliseconds;

SchedulerOptions with(BatchingPolicy policy, int32_t size) {
  SchedulerOptions options;
  options.batching = {.policy = policy, .size = size, .wait = milliseconds(50)};
  options.enable_prefix_caching = false;
  return options;
}

struct BatchHarness : SchedulerHarness {
  BatchHarness(BatchingPolicy policy, int32_t size, int32_t num_blocks = 64)
      : SchedulerHarness(small_cluster(1, num_blocks), with(policy, size)) {}

  void add(RequestId id, int32_t prompt, int32_t new_tokens, int32_t n = 1) {
    Request request = make_request(id, prompt, new_tokens);
    request.sampling.n = n;
    scheduler.add(request);
  }
  void pass(int ms) { scheduler.set_now(time += milliseconds(ms)); }
  bool idle() { return !scheduler.next_plan() && in_flight.empty(); }
  int64_t free_blocks() { return scheduler.stats().blocks_free; }
  // Steps until nothing runs; requests in the order in which their first rows were planned.
  std::vector<RequestId> run() {
    std::vector<RequestId> order;
    while (auto plan = scheduler.next_plan()) {
      in_flight.push_back(*plan);
      for (RequestId id : scheduler.planned_requests())
        if (std::ranges::count(order, id) == 0) order.push_back(id);
      retire();
    }
    return order;
  }

  TimePoint time{};
};

TEST(Batching, PolicyNamesComeBack) {
  for (auto policy : {BatchingPolicy::continuous, BatchingPolicy::dynamic, BatchingPolicy::static_})
    EXPECT_EQ(parse_batching_policy(batching_policy_name(policy)), policy);
  EXPECT_FALSE(parse_batching_policy("all"));
}

TEST(Batching, ContinuousWaitsForNobody) {
  BatchHarness harness(BatchingPolicy::continuous, 0);
  harness.add(1, 3, 4);
  harness.step();
  harness.add(2, 3, 4);
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), (std::vector<RequestId>{1, 2}));
  EXPECT_FALSE(harness.scheduler.waits_until());
}

class CollectedBatch : public ::testing::TestWithParam<BatchingPolicy> {};
INSTANTIATE_TEST_SUITE_P(Policies, CollectedBatch, ::testing::Values(BatchingPolicy::dynamic, BatchingPolicy::static_),
                         [](const auto& info) { return batching_policy_name(info.param); });

TEST_P(CollectedBatch, StartsTogetherWhenItIsFull) {
  BatchHarness harness(GetParam(), 2);
  harness.add(1, 3, 2);
  EXPECT_TRUE(harness.idle());
  EXPECT_EQ(harness.scheduler.waits_until(), harness.time + milliseconds(50));
  harness.pass(49);
  EXPECT_TRUE(harness.idle());
  harness.add(2, 3, 2);
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), (std::vector<RequestId>{1, 2}));
  EXPECT_FALSE(harness.scheduler.waits_until());
}

TEST_P(CollectedBatch, StartsSmallerWhenTheOldestHasWaited) {
  BatchHarness harness(GetParam(), 4);
  harness.add(1, 3, 1);
  harness.pass(30);
  harness.add(2, 3, 1);
  EXPECT_TRUE(harness.idle());
  harness.pass(20);
  EXPECT_EQ(harness.run(), (std::vector<RequestId>{1, 2}));
}

TEST_P(CollectedBatch, IsClosedUntilItsLastSequenceHasEnded) {
  BatchHarness harness(GetParam(), 2);
  harness.add(1, 3, 2);
  harness.add(2, 3, 6);
  harness.step();
  harness.add(3, 3, 1);
  harness.add(4, 3, 1);
  for (int step = 1; step < 6; ++step) {
    harness.plan();
    EXPECT_EQ(std::ranges::count(harness.scheduler.planned_requests(), 3u), 0) << step;
    harness.retire();
  }
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), (std::vector<RequestId>{3, 4}));
}

TEST_P(CollectedBatch, CountsChoicesAndGivesAnOversizedRequestABatchOfItsOwn) {
  BatchHarness harness(GetParam(), 3);
  harness.add(1, 3, 1, 2);
  harness.add(2, 3, 1, 2);  // does not fit beside the first
  harness.add(3, 3, 1, 5);  // fits nowhere
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), std::vector<RequestId>{1});
  harness.retire();
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), std::vector<RequestId>{2});
  harness.retire();
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), std::vector<RequestId>{3});
}

TEST_P(CollectedBatch, TakesRequestsByPriorityThenArrival) {
  BatchHarness harness(GetParam(), 2);
  harness.add(1, 3, 1);
  harness.add(2, 3, 1);
  Request urgent = make_request(3, 3, 1);
  urgent.priority = -1;
  harness.scheduler.add(urgent);
  EXPECT_EQ(harness.run(), (std::vector<RequestId>{1, 3}));
  EXPECT_TRUE(harness.idle());
  harness.pass(50);
  EXPECT_EQ(harness.run(), std::vector<RequestId>{2});
}

TEST_P(CollectedBatch, ACancelledMemberEndsItsBatch) {
  BatchHarness harness(GetParam(), 1);
  harness.add(1, 3, 40);
  harness.add(2, 3, 1);
  harness.step();
  harness.scheduler.cancel(1);
  harness.plan();
  EXPECT_EQ(harness.scheduler.planned_requests(), std::vector<RequestId>{2});
}

TEST_P(CollectedBatch, ACancelledRequestNoLongerCounts) {
  BatchHarness harness(GetParam(), 2);
  harness.add(1, 3, 1);
  harness.scheduler.cancel(1);
  harness.add(2, 3, 1);
  EXPECT_TRUE(harness.idle());
}

TEST_P(CollectedBatch, WaitsForNobodyOnceNothingMoreWillCome) {
  BatchHarness harness(GetParam(), 4);
  harness.add(1, 3, 1);
  EXPECT_TRUE(harness.idle());
  harness.scheduler.drain();
  EXPECT_EQ(harness.run(), std::vector<RequestId>{1});
}

TEST_P(CollectedBatch, APreemptedMemberComesBackToItsClosedBatch) {
  BatchHarness harness(GetParam(), 2, 7);  // 7 blocks of 4, and each needs 4
  harness.add(1, 4, 12);
  harness.add(2, 5, 12);  // takes its fourth block first, and has to give it up
  harness.add(3, 4, 1);
  std::vector<RequestId> ended;
  while (ended.size() < 2) {
    harness.plan();
    EXPECT_EQ(std::ranges::count(harness.scheduler.planned_requests(), 3u), 0);
    for (const TokenEvent& event : events_of<TokenEvent>(harness.retire()))
      if (event.finish != FinishReason::none) ended.push_back(event.request);
  }
  EXPECT_GE(harness.scheduler.stats().preemptions, 1);
  EXPECT_EQ(ended, (std::vector<RequestId>{1, 2}));
}

TEST(DynamicBatch, GivesBlocksBackAsItsSequencesEnd) {
  BatchHarness harness(BatchingPolicy::dynamic, 2);
  harness.add(1, 8, 1);
  harness.add(2, 8, 3);
  harness.step();
  EXPECT_EQ(harness.free_blocks(), 64 - 2);
  harness.run();
  EXPECT_EQ(harness.scheduler.stats().padded_tokens, 0);
}

TEST(StaticBatch, KeepsBlocksUntilItsLastSequenceHasEnded) {
  BatchHarness harness(BatchingPolicy::static_, 2);
  harness.add(1, 8, 1);
  harness.add(2, 8, 3);
  harness.step();
  EXPECT_EQ(harness.free_blocks(), 64 - 4);
  harness.step();
  EXPECT_EQ(harness.free_blocks(), 64 - 5);
  harness.step();
  EXPECT_EQ(harness.free_blocks(), 64);
}

TEST(StaticBatch, GivesThemBackEarlierToAMemberThatWouldNeverRun) {
  BatchHarness harness(BatchingPolicy::static_, 2, 4);
  harness.add(1, 12, 1);
  harness.add(2, 12, 1);
  EXPECT_EQ(harness.run(), (std::vector<RequestId>{1, 2}));
  EXPECT_EQ(harness.free_blocks(), 4);
}

TEST(StaticBatch, CountsThePaddingOfARectangle) {
  BatchHarness harness(BatchingPolicy::static_, 2);
  harness.add(1, 3, 2);
  harness.add(2, 7, 5);
  harness.step();
  EXPECT_EQ(harness.scheduler.stats().padded_tokens, 2 * 7 - (3 + 7));
  harness.run();
  EXPECT_EQ(harness.scheduler.stats().padded_tokens, 2 * 7 - (3 + 7) + 2 * 5 - (2 + 5));
}

TEST(StaticBatch, ChoicesShareTheirPromptButPadTheirOutputs) {
  BatchHarness harness(BatchingPolicy::static_, 3);
  harness.add(1, 4, 2, 2);
  harness.add(2, 4, 6);
  harness.run();
  EXPECT_EQ(harness.scheduler.stats().padded_tokens, 3 * 6 - (2 + 2 + 6));
}

}  // namespace
}  // namespace trireme::test
