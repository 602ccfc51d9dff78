// What a limit on prompts beside decoding sequences does to the time between tokens and to throughput: the real scheduler
// under a closed loop of streams, over a device whose times are a formula. docs/operations.md quotes what this prints.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::test {
namespace {

// Llama-3.1-8B on one H200, milliseconds: fitted to 1,500 steps of a server and of a run with another limit in every step
// (benchmarks/results/h200-served.txt), which it meets to 0.8 ms. By all of a step's tokens, in steps of 128, as the
// linear layers cut them into tiles; keys and values of a token of context are read in 40 ns.
double step_time(const StepPlan& plan) {
  static constexpr double kByTokens[] = {5.1,  7.5,  12.4, 12.3, 19.0, 19.4, 23.4, 24.2, 34.6, 34.2, 37.9, 37.3,
                                         39.4, 41.0, 44.2, 44.6, 52.9, 53.7, 56.3, 57.4, 62.3, 63.8, 66.6, 66.4};
  static constexpr size_t kSteps = std::size(kByTokens);
  double context = 0;
  for (const PlanRow& row : plan.rows)
    if (row.ids_begin == kLastDrawn) context += row.start;
  const auto tokens = size_t(plan.num_tokens()), step = (tokens - 1) / 128;
  const double linear = step < kSteps ? kByTokens[step] : kByTokens[kSteps - 1] + 0.0225 * double(tokens - 128 * kSteps);
  return linear + 40e-6 * context + (context > 0 && !plan.row_ids.empty() ? 1.5 : 0);
}

struct Load {
  int streams = 256, requests = 1024, prompt = 512, output = 256, seats = 256;
};

struct Served {
  double tokens_per_second = 0, itl_median = 0, itl_p99 = 0, ttft_mean = 0;
  int64_t largest_mixed = 0;  // all tokens of a step with decode rows and prompts
};

struct Limit {
  int32_t tokens = 0, multiple = 1;
};
constexpr Limit kNone{}, kExact{1536, 1}, kServed{1536, 1024};

ClusterInfo cluster_of(const Load& load) {
  ClusterInfo cluster;
  cluster.num_slots = load.seats;
  cluster.max_batched_tokens = 8192;
  cluster.max_logit_rows = load.seats;
  cluster.max_model_len = 2000;
  cluster.max_blocks_per_slot = 125;
  cluster.vocab_size = 1000;
  cluster.groups = {KvGroupInfo{.block_size = 16, .num_blocks = 60 * load.seats}};
  return cluster;
}

SchedulerOptions options_of(const Limit& limit) {
  return {.prefill_chunk = 0,
          .mixed_prefill = limit.tokens,
          .mixed_step_multiple = limit.multiple,
          .enable_prefix_caching = false};
}

class ClosedLoop {
 public:
  ClosedLoop(const Load& load, const Limit& limit)
      : load_(load), cluster_(cluster_of(load)), harness_(cluster_, options_of(limit)) {}

  Served run() {
    while (added_ < std::min(load_.streams, load_.requests)) add();
    while (harness_.scheduler.has_unfinished()) {
      if (auto plan = harness_.scheduler.next_plan())
        submit(std::move(*plan));
      else
        retire();
    }
    return figures();
  }

 private:
  void add() {
    Request request = make_request(RequestId(++added_), load_.prompt, load_.output);
    sent_[request.id] = now_;
    harness_.scheduler.add(std::move(request));
  }

  void submit(StepPlan plan) {
    const bool decodes = std::ranges::any_of(plan.rows, [](const auto& row) { return row.ids_begin == kLastDrawn; });
    if (decodes && !plan.row_ids.empty())
      served_.largest_mixed = std::max(served_.largest_mixed, plan.num_tokens());
    device_free_ = std::max(now_ + 0.1, device_free_) + step_time(plan);
    ends_.push_back(device_free_);
    harness_.in_flight.push_back(std::move(plan));
  }

  void retire() {
    CHECK(!ends_.empty()) << "nothing can run";
    now_ = std::max(now_, ends_.front());
    ends_.pop_front();
    for (const TokenEvent& event : events_of<TokenEvent>(harness_.retire())) take(event);
  }

  void take(const TokenEvent& event) {
    if (const auto before = last_.find(event.request); before == last_.end())
      ttfts_.push_back(now_ - sent_[event.request]);
    else
      gaps_.push_back(now_ - before->second);
    last_[event.request] = now_;
    if (event.finish != FinishReason::none && added_ < load_.requests) add();
  }

  Served figures() {
    EXPECT_EQ(ttfts_.size(), size_t(load_.requests));
    std::ranges::sort(gaps_);
    served_.tokens_per_second = double(load_.requests) * load_.output / now_ * 1e3;
    served_.itl_median = gaps_[gaps_.size() / 2];
    served_.itl_p99 = gaps_[gaps_.size() * 99 / 100];
    for (double ttft : ttfts_) served_.ttft_mean += ttft / double(ttfts_.size());
    return served_;
  }

  Load load_;
  ClusterInfo cluster_;
  SchedulerHarness harness_;
  std::deque<double> ends_;  // of the plans in flight
  double now_ = 0, device_free_ = 0;
  int added_ = 0;
  std::map<RequestId, double> sent_, last_;
  std::vector<double> gaps_, ttfts_;
  Served served_;
};

Served serve(const Load& load, const Limit& limit) {
  const Served served = ClosedLoop(load, limit).run();
  std::printf("%4d streams, %4d seats, limit %4d, multiple %4d: %6.0f tok/s, ITL median %5.1f, p99 %6.1f ms, TTFT mean "
              "%6.0f ms\n",
              load.streams, load.seats, limit.tokens, limit.multiple, served.tokens_per_second, served.itl_median,
              served.itl_p99, served.ttft_mean);
  return served;
}

TEST(MixedSteps, ALimitShortensTheLongestWaitsForTokensAndCostsNoThroughput) {
  const Served whole = serve({}, kNone), exact = serve({}, kExact), served = serve({}, kServed);
  EXPECT_GT(whole.largest_mixed, 7000);
  EXPECT_LE(exact.largest_mixed, 1536 + 256);
  EXPECT_EQ(served.largest_mixed, 2048);
  EXPECT_LT(served.itl_p99, whole.itl_p99 / 3);
  EXPECT_LT(served.itl_p99, 60);
  EXPECT_GT(served.tokens_per_second, 0.99 * whole.tokens_per_second);
  EXPECT_GT(served.tokens_per_second, 1.02 * exact.tokens_per_second) << "tokens that cost little are left out";
  EXPECT_LT(served.ttft_mean, whole.ttft_mean) << "prompts come less in bursts";
}

TEST(MixedSteps, ManyStreamsKeepTheirThroughput) {
  for (const int seats : {512, 1024}) {
    const Load load{.streams = 1024, .requests = 2048, .seats = seats};
    const Served whole = serve(load, kNone), exact = serve(load, kExact), served = serve(load, kServed);
    EXPECT_GT(served.tokens_per_second, 0.99 * whole.tokens_per_second) << seats;
    EXPECT_GT(served.tokens_per_second, exact.tokens_per_second) << seats;
    EXPECT_LT(served.itl_p99, 100) << seats;
  }
}

TEST(MixedSteps, WhereNothingDecodesPromptsTakeTheWholePlan) {
  for (const auto& [limit, beside] : {std::pair(kExact, 1536), std::pair(kServed, 2048 - 16)}) {
    Scheduler scheduler(cluster_of({}), options_of(limit));
    for (RequestId id = 1; id <= 20; ++id) scheduler.add(make_request(id, 512, 2));
    EXPECT_EQ(scheduler.next_plan()->num_tokens(), 8192);
    const StepPlan mixed = *scheduler.next_plan();
    EXPECT_EQ(std::ranges::count(mixed.rows, kLastDrawn, &PlanRow::ids_begin), 16) << "of the first plan's prompts";
    EXPECT_EQ(mixed.row_ids.size(), size_t(beside));
  }
}

// The step's budget is not passed, however far the limit is raised.
TEST(MixedSteps, ARaisedLimitStaysWithinTheBudget) {
  ClusterInfo cluster = cluster_of({});
  cluster.max_batched_tokens = 1600;
  Scheduler scheduler(cluster, options_of(kServed));
  for (RequestId id = 1; id <= 20; ++id) scheduler.add(make_request(id, 512, 2));
  EXPECT_EQ(scheduler.next_plan()->num_tokens(), 1600);
  EXPECT_EQ(scheduler.next_plan()->num_tokens(), 1600);
}

// Its client sees nothing before its end.
TEST(MixedSteps, BesideABeamSearchPromptsTakeTheWholePlan) {
  ClusterInfo cluster = small_cluster();
  SchedulerHarness harness(cluster, {.prefill_chunk = 0, .mixed_prefill = 2});
  Request beams = make_request(1, 4, 8);
  beams.sampling.beam_width = 2;
  harness.scheduler.add(beams);
  harness.plan();
  harness.scheduler.add(make_request(2, 9, 4));
  EXPECT_EQ(harness.plan().row_ids.size(), 9u);
}

}  // namespace
}  // namespace trireme::test
