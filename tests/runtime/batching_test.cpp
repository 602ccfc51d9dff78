// The same text under continuous, dynamic and static batching: 200 mixed requests that arrive while others run. CPU
// only: docs/design.md 4 says why the bits are the same there.

#include <gtest/gtest.h>

#include <map>

#include "coordinator/scheduler.h"
#include "tests/runtime/support/cluster_run.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

constexpr int kRequests = 200;
constexpr size_t kArrivalsPerPlan = 5;

using Outputs = std::map<std::pair<RequestId, int32_t>, std::vector<int32_t>>;  // by request and choice

struct PolicyOutputs {
  Outputs outputs;
  EngineStats stats;
};

// Greedy and seeded, cuts and penalties, one to three choices, shared beginnings, priorities, 1 to 120 prompt tokens.
std::vector<Request> mixed_requests(int32_t vocab) {
  uint64_t state = 777;
  const auto random = [&](uint64_t bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return int32_t((state >> 33) % bound);
  };
  std::vector<int32_t> shared;
  for (int i = 0; i < 60; ++i) shared.push_back(random(uint64_t(vocab)));
  std::vector<Request> requests;
  for (RequestId id = 1; id <= kRequests; ++id) {
    Request& request = requests.emplace_back();
    request.id = id;
    if (id % 3 == 0) request.prompt.assign(shared.begin(), shared.begin() + 17 + random(40));
    for (int extra = 1 + random(id % 10 == 0 ? 120 : 30); extra > 0; --extra)
      request.prompt.push_back(random(uint64_t(vocab)));
    SamplingParams& sampling = request.sampling;
    sampling.seed = 5000 + id;
    sampling.max_new_tokens = 1 + random(70);
    sampling.temperature = id % 4 == 0 ? 0.0f : 0.9f;
    if (id % 4 == 1) sampling.top_p = 0.9f;
    if (id % 4 == 2) sampling.top_k = 30;
    if (id % 5 == 0) sampling.repetition_penalty = 1.2f;
    if (id % 9 == 0) sampling.n = 2 + int32_t(id % 2);
    request.priority = id % 11 == 0 ? -1 : 0;
    request.eos_token_ids = {1};
  }
  return requests;
}

void collect(Scheduler& scheduler, Outputs& outputs) {
  for (const EngineEvent& event : scheduler.take_events()) {
    if (const auto* token = std::get_if<TokenEvent>(&event); token && token->token.id >= 0)
      outputs[{token->request, token->choice}].push_back(token->token.id);
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event))
      ADD_FAILURE() << "request " << failed->request << ": " << failed->message;
  }
}

// A millisecond passes per round; where only a batch that is not full waits, the time jumps to its start.
void drive(Scheduler& scheduler, Executor& executor, const std::vector<Request>& requests, Outputs& outputs) {
  TimePoint now{};
  StepId retired = -1;
  size_t arrived = 0;
  while (arrived < requests.size() || scheduler.has_unfinished() || scheduler.in_flight() > 0) {
    scheduler.set_now(now += std::chrono::milliseconds(1));
    for (size_t end = std::min(arrived + kArrivalsPerPlan, requests.size()); arrived < end; ++arrived)
      scheduler.add(requests[arrived]);
    if (auto plan = scheduler.next_plan()) {
      executor.submit(std::move(*plan));
    } else if (scheduler.in_flight() > 0) {
      scheduler.on_result(executor.wait(++retired));
    } else if (arrived == requests.size() && scheduler.has_unfinished()) {
      ASSERT_TRUE(scheduler.waits_until()) << "nothing runnable, nothing in flight, no batch waits";
      now = std::max(now, *scheduler.waits_until());
    }
    collect(scheduler, outputs);
  }
  scheduler.verify();
}

PolicyOutputs generate(Shape shape, BatchingPolicy policy) {
  RankRuntimeOptions options;
  options.max_num_seqs = 12;
  options.max_num_batched_tokens = 256;
  options.num_blocks = 24;  // little enough that batches preempt
  options.max_model_len = 200;
  PolicyOutputs result;
  run_executor("tiny-llama", shape, DeviceKind::cpu, options, [&](Executor& executor) {
    SchedulerOptions scheduling;
    scheduling.prefill_chunk = 48;
    scheduling.batching = {.policy = policy, .size = 10, .wait = std::chrono::milliseconds(5)};
    Scheduler scheduler(executor.info(), scheduling);
    drive(scheduler, executor, mixed_requests(int32_t(executor.info().vocab_size)), result.outputs);
    result.stats = scheduler.stats();
    return scheduler.next_step();
  });
  return result;
}

TEST(BatchingPolicies, GiveTheSameText) {
  for (const Shape shape : shapes_of(world_size())) {
    const PolicyOutputs continuous = generate(shape, BatchingPolicy::continuous);
    const PolicyOutputs dynamic = generate(shape, BatchingPolicy::dynamic);
    const PolicyOutputs fixed = generate(shape, BatchingPolicy::static_);
    if (world_rank() != 0) continue;
    EXPECT_EQ(continuous.outputs.size(), 200u + 11 * 1 + 11 * 2);  // ids 9, 18, ...: two choices when even, else three
    EXPECT_TRUE(dynamic.outputs == continuous.outputs) << "dynamic, tp " << shape.tp;
    EXPECT_TRUE(fixed.outputs == continuous.outputs) << "static, tp " << shape.tp;
    EXPECT_EQ(continuous.stats.padded_tokens + dynamic.stats.padded_tokens, 0);
    EXPECT_GT(fixed.stats.padded_tokens, 0);
    for (const PolicyOutputs* one : {&continuous, &dynamic, &fixed}) EXPECT_GT(one->stats.preemptions, 0);
    EXPECT_GT(fixed.stats.steps, continuous.stats.steps);  // the policies were not one and the same
    std::printf("  steps: continuous %lld, dynamic %lld, static %lld; preemptions %lld, %lld, %lld\n",
                static_cast<long long>(continuous.stats.steps), static_cast<long long>(dynamic.stats.steps),
                static_cast<long long>(fixed.stats.steps), static_cast<long long>(continuous.stats.preemptions),
                static_cast<long long>(dynamic.stats.preemptions), static_cast<long long>(fixed.stats.preemptions));
  }
}

}  // namespace
}  // namespace trireme::test
