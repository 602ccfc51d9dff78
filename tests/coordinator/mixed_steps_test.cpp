// What a limit on prompts beside decoding sequences does to the time between tokens and to throughput: the real scheduler
// under a closed loop of streams, over a device whose times are a formula. docs/operations.md quotes what this prints.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::testing {
namespace {

// Llama-3.1-8B on one H200, milliseconds: weights are read in 4.0 or their arithmetic takes 18.7 us a token, of which a
// plan has 100 more than it shows; keys and values of a token of context are read in 39 ns; attention, norms and
// activations of prompts take 4.1 us a token. 256 sequences at context 512: 12.4 ms, 8,192 tokens of prompts: 190 ms.
double step_time(const StepPlan& plan) {
  double context = 0;
  for (const PlanRow& row : plan.rows)
    if (row.ids_begin == kLastDrawn) context += row.start;
  const double linear = std::max(4.0, 0.0187 * (double(plan.num_tokens()) + 100));
  return linear + 39e-6 * context + 0.0041 * double(plan.row_ids.size()) + 0.5;
}

struct Load {
  int streams = 256, requests = 1024, prompt = 512, output = 256, seats = 256;
};

struct Served {
  double tokens_per_second = 0, itl_median = 0, itl_p99 = 0, ttft_mean = 0;
  int32_t largest_mixed = 0;  // prompts' tokens beside decode rows
};

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

class ClosedLoop {
 public:
  ClosedLoop(const Load& load, int32_t mixed_prefill)
      : load_(load),
        cluster_(cluster_of(load)),
        harness_(cluster_, {.prefill_chunk = 0, .mixed_prefill = mixed_prefill, .enable_prefix_caching = false}) {}

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
    if (std::ranges::any_of(plan.rows, [](const PlanRow& row) { return row.ids_begin == kLastDrawn; }))
      served_.largest_mixed = std::max(served_.largest_mixed, int32_t(plan.row_ids.size()));
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

Served serve(const Load& load, int32_t mixed_prefill) {
  const Served served = ClosedLoop(load, mixed_prefill).run();
  std::printf("%4d streams, %4d seats, limit %4d: %6.0f tok/s, ITL median %5.1f, p99 %6.1f ms, TTFT mean %6.0f ms\n",
              load.streams, load.seats, mixed_prefill, served.tokens_per_second, served.itl_median, served.itl_p99,
              served.ttft_mean);
  return served;
}

TEST(MixedSteps, ALimitShortensTheLongestWaitsForTokensAndHardlyCostsThroughput) {
  const Served whole = serve({}, 0);
  for (const int32_t limit : {1536, 1024}) {
    const Served limited = serve({}, limit);
    EXPECT_EQ(limited.largest_mixed, limit);
    EXPECT_GT(limited.tokens_per_second, 0.98 * whole.tokens_per_second) << limit;
    EXPECT_LT(limited.itl_p99, whole.itl_p99 / 3) << limit;
    EXPECT_LT(limited.itl_p99, 60) << limit;
    EXPECT_LT(limited.ttft_mean, whole.ttft_mean) << "prompts come less in bursts";
  }
  EXPECT_GT(whole.largest_mixed, 7000);
}

TEST(MixedSteps, ManyStreamsKeepTheirThroughput) {
  const Load load{.streams = 1024, .requests = 1536, .seats = 512};
  const Served whole = serve(load, 0), limited = serve(load, 1536);
  EXPECT_GT(limited.tokens_per_second, 0.98 * whole.tokens_per_second);
}

TEST(MixedSteps, WhereNothingDecodesPromptsTakeTheWholePlan) {
  Load load;
  Scheduler scheduler(cluster_of(load), {.prefill_chunk = 0, .mixed_prefill = 1536, .enable_prefix_caching = false});
  for (RequestId id = 1; id <= 20; ++id) scheduler.add(make_request(id, 512, 2));
  EXPECT_EQ(scheduler.next_plan()->num_tokens(), 8192);
  const StepPlan mixed = *scheduler.next_plan();
  EXPECT_EQ(mixed.rows.size(), 16u + 3u) << "16 sequences decode beside three prompts";
  EXPECT_EQ(mixed.row_ids.size(), 1536u);
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
}  // namespace trireme::testing
