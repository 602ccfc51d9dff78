// How busy the scheduler keeps pipeline stages, by stage times of a model: docs/scaling.md quotes what this prints.

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/coordinator/support/scheduler_harness.h"
#include "tests/coordinator/support/timed_pipeline.h"

namespace trireme::test {
namespace {

ClusterInfo cluster_of(int pp) {
  ClusterInfo cluster;
  cluster.pp = cluster.world = pp;
  cluster.num_slots = 256;
  cluster.max_batched_tokens = 8192;
  cluster.max_logit_rows = 256;
  cluster.max_model_len = 20000;
  cluster.max_blocks_per_slot = 1250;
  cluster.vocab_size = 100;
  cluster.groups = {KvGroupInfo{.block_size = 16, .num_blocks = 40000}};
  return cluster;
}

// Llama-3.1-8B on H200s (docs/scaling.md): 126 us of weights and 0.71 us of arithmetic per token and layer, hops of
// 17 us, ids of 8 us, a host that needs 100 us. A plan costs 64 tokens' time besides its own.
StageTimes stage_times(int pp) {
  StageTimes times;
  const double layers = 32.0 / pp;
  times.fixed.assign(size_t(pp), 126 * layers);
  times.per_token.assign(size_t(pp), 0.71 * layers);
  times.own_tokens = 64, times.hop = 17, times.feedback = 8, times.host = 100;
  return times;
}

PipelineTrace run(int pp, int requests, int32_t prompt, int32_t output, int32_t min_share) {
  const ClusterInfo cluster = cluster_of(pp);
  Scheduler scheduler(cluster, {.prefill_chunk = 0, .min_prefill_share = min_share, .enable_prefix_caching = false});
  for (RequestId id = 1; id <= RequestId(requests); ++id) {
    Request request = make_request(id, prompt, output);
    for (TokenId& token : request.prompt) token %= 100;
    scheduler.add(request);
  }
  const PipelineTrace trace = run_timed(scheduler, cluster, stage_times(pp));
  std::printf("pp %d, %3d x %5d/%3d, shares of %5d or more: %3zu plans, %8.2f ms, bubble %4.1f %%\n", pp, requests,
              prompt, output, min_share, trace.plans.size(), trace.elapsed / 1e3, trace.bubble() * 100);
  return trace;
}

class Stages : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(PipelineSchedule, Stages, ::testing::Values(2, 3, 4), ::testing::PrintToStringParamName());

int32_t tokens_of(const PlanTrace& run) { return int32_t(run.plan.num_tokens()); }

// m equal micro-batches keep P stages busy for m of m + P - 1 stage times.
TEST_P(Stages, ABurstOfPromptsIsDividedEvenly) {
  const int pp = GetParam();
  for (int requests : {8, 16, 64, 256}) {
    const PipelineTrace trace = run(pp, requests, 512, 1, 256), whole = run(pp, requests, 512, 1, 8192);
    EXPECT_LT(trace.elapsed, whole.elapsed) << "plans that take all they can";
    const double m = double(trace.plans.size()), ideal = m / (m + pp - 1);
    EXPECT_GE(m, pp) << "no stage is left out";
    EXPECT_GE(1 - trace.bubble(), ideal - 0.02) << m << " plans";
    int32_t fewest = tokens_of(trace.plans[0]), most = fewest;
    for (const PlanTrace& plan : trace.plans) {
      fewest = std::min(fewest, tokens_of(plan));
      most = std::max(most, tokens_of(plan));
    }
    EXPECT_LE(most - fewest, int32_t(m) + most / 20) << "rounding, and what the best share does not divide";
  }
}

TEST_P(Stages, ALongPromptIsInFlightInEqualChunks) {
  const int pp = GetParam();
  const PipelineTrace chunks = run(pp, 1, 8000, 1, 256), whole = run(pp, 1, 8000, 1, 8192);
  EXPECT_GT(chunks.plans.size(), size_t(2 * pp));
  EXPECT_EQ(whole.plans.size(), 1u);
  EXPECT_LT(chunks.elapsed / whole.elapsed, 1.35 / pp) << "of pp stages, pp work";
}

// A plan of few tokens takes as long as one of fewer: more of them would only come later.
TEST_P(Stages, AShortPromptIsNotCutIntoPiecesThatTakeAsLong) {
  const PipelineTrace trace = run(GetParam(), 1, 250, 1, 256);
  EXPECT_EQ(trace.plans.size(), 1u);
}

// What is left: every pp plans the first stage waits for a hop and the ids' way back.
TEST_P(Stages, DecodingKeepsAllStagesBusy) {
  const int pp = GetParam();
  const PipelineTrace trace = run(pp, 64, 100, 200, 256);
  // Between the last prompt's chunk and the first sequence's end: sequences start, and so end, one after the other.
  size_t first = 0;
  for (size_t plan = 0; plan < trace.plans.size(); ++plan)
    if (!trace.plans[plan].plan.row_ids.empty()) first = plan + size_t(2 * pp);
  const size_t last = trace.plans.size() - 2 * first;
  ASSERT_GT(last, first + 100);
  EXPECT_LT(trace.bubble_between(first, last), 0.02);
  int32_t fewest = 64, most = 0;
  for (size_t plan = first; plan < last; ++plan) {
    fewest = std::min(fewest, tokens_of(trace.plans[plan]));
    most = std::max(most, tokens_of(trace.plans[plan]));
  }
  EXPECT_LE(most - fewest, 1) << "64 sequences are dealt evenly to " << pp << " plans";
}

TEST_P(Stages, PromptsOfUnequalLengthsAndDecodingTogether) {
  const int pp = GetParam();
  const ClusterInfo cluster = cluster_of(pp);
  for (int32_t min_share : {8192, 256}) {
    Scheduler scheduler(cluster, {.prefill_chunk = 0, .min_prefill_share = min_share, .enable_prefix_caching = false});
    for (RequestId id = 1; id <= 400; ++id) {
      Request request = make_request(id, 50 + int32_t(id * 7919 % 950), 20 + int32_t(id * 104729 % 180));
      for (TokenId& token : request.prompt) token %= 100;
      scheduler.add(request);
    }
    const PipelineTrace trace = run_timed(scheduler, cluster, stage_times(pp));
    std::printf("pp %d, 400 mixed, shares of %5d or more: %3zu plans, %8.2f ms, bubble %4.1f %%\n", pp, min_share,
                trace.plans.size(), trace.elapsed / 1e3, trace.bubble() * 100);
    if (min_share == 256) {
      EXPECT_LT(trace.bubble(), 0.1);
    }
  }
}

// The picture in docs/scaling.md.
TEST(PipelineSchedule, DrawsTwoStages) {
  const PipelineTrace trace = run(2, 16, 512, 4, 256);
  std::printf("%s", draw(trace, 1000).c_str());
  for (size_t plan = 1; plan < trace.plans.size(); ++plan)
    EXPECT_GE(trace.plans[plan].start[1], trace.plans[plan].end[0]) << "a stage starts after the one before";
  EXPECT_LT(trace.plans[1].start[0], trace.plans[0].end[1]) << "and the first stage has the next plan meanwhile";
}

}  // namespace
}  // namespace trireme::test
