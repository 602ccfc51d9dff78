// The same tokens whatever the layout: scheduler, workers and models together. The one-rank run writes its outputs
// to a file, every other world compares with it (ctest runs it first); within a world every tp x pp and every way
// of batching is compared. CPU only: docs/design.md 4 says why the bits are the same there.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "coordinator/scheduler.h"
#include "tests/runtime/support/cluster_run.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

using Outputs = std::map<std::pair<RequestId, int32_t>, std::vector<int32_t>>;  // by request and choice

struct Batching {
  std::string name;
  int64_t num_blocks = 600;  // 0: as the runtime sizes the groups
  int32_t batched_tokens = 512;
  int32_t prefill_chunk = 512;
  int32_t min_prefill_share = 256;
  bool lopsided_stages = false;  // one layer in every stage but the last
  bool prefix_caching = true;
  bool one_at_a_time = false;
  DecodeGraphMode graphs = DecodeGraphMode::off;
  bool peer_memory = true;
};

// 32 mixed prompts: greedy, seeded sampling with every cut and penalty, n = 3, shared beginnings, 1 to 300 tokens.
std::vector<Request> mixed_requests(int32_t vocab) {
  std::vector<Request> requests;
  uint64_t state = 12345;
  const auto random = [&](uint64_t bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % bound;
  };
  std::vector<int32_t> shared;
  for (int i = 0; i < 70; ++i) shared.push_back(int32_t(random(uint64_t(vocab))));
  for (RequestId id = 1; id <= 32; ++id) {
    Request request;
    request.id = id;
    if (id % 3 == 0) request.prompt.assign(shared.begin(), shared.begin() + 20 + int(random(50)));
    const uint64_t extra = id % 8 == 0 ? 200 + random(100) : 1 + random(40);
    for (uint64_t i = 0; i < extra; ++i) request.prompt.push_back(int32_t(random(uint64_t(vocab))));
    SamplingParams& sampling = request.sampling;
    sampling.max_new_tokens = 4 + int32_t(random(28));
    sampling.seed = 1000 + id;
    sampling.temperature = id % 4 == 0 ? 0.0f : 0.8f;
    if (id % 4 == 1) sampling.top_p = 0.9f;
    if (id % 4 == 2) sampling.top_k = 40;
    if (id % 4 == 3) sampling.min_p = 0.02f;
    if (id % 5 == 0) sampling.repetition_penalty = 1.3f;
    if (id % 7 == 0) sampling.n = 3;
    if (id % 6 == 0) sampling.min_new_tokens = 3;
    request.eos_token_ids = {1};
    requests.push_back(request);
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

// Runs what the scheduler has to the end.
void drive(Scheduler& scheduler, Executor& executor, StepId& retired, Outputs& outputs) {
  while (scheduler.has_unfinished() || scheduler.in_flight() > 0) {
    if (auto plan = scheduler.next_plan()) {
      executor.submit(std::move(*plan));
    } else {
      ASSERT_GT(scheduler.in_flight(), 0) << "nothing runnable and nothing in flight";
      scheduler.on_result(executor.wait(++retired));
    }
    collect(scheduler, outputs);
  }
  scheduler.verify();
}

int64_t num_layers(const std::string& model) {
  return open_checkpoint(model_path(model), {.need_weights = false, .need_tokenizer = false}).config.num_layers;
}

std::vector<int64_t> lopsided(const std::string& model, int pp) {
  std::vector<int64_t> layers(size_t(pp), 1);
  layers.back() = num_layers(model) - (pp - 1);
  return layers;
}

Outputs generate(const std::string& model, Shape shape, const Batching& batching, int64_t* preemptions = nullptr,
                 DeviceKind device = DeviceKind::cpu) {
  RankRuntimeOptions options;
  options.max_num_seqs = 16;
  options.max_num_batched_tokens = batching.batched_tokens;
  options.num_blocks = batching.num_blocks;
  options.max_model_len = 400;
  options.graphs = batching.graphs;
  options.peer_sampling = batching.peer_memory;
  if (batching.lopsided_stages) options.stage_layers = lopsided(model, shape.pp);
  Outputs outputs;
  run_executor(model, shape, device, options, [&](Executor& executor) {
    SchedulerOptions scheduling;
    scheduling.prefill_chunk = batching.prefill_chunk;
    scheduling.min_prefill_share = batching.min_prefill_share;
    scheduling.enable_prefix_caching = batching.prefix_caching;
    Scheduler scheduler(executor.info(), scheduling);
    StepId retired = -1;
    for (const Request& request : mixed_requests(int32_t(executor.info().vocab_size))) {
      validate(request, executor.info().vocab_size, executor.info().max_model_len);
      scheduler.add(request);
      if (batching.one_at_a_time) drive(scheduler, executor, retired, outputs);
    }
    drive(scheduler, executor, retired, outputs);
    if (preemptions) *preemptions = scheduler.stats().preemptions;
    return scheduler.next_step();
  }, batching.peer_memory);
  return outputs;
}

std::string to_text(const Outputs& outputs) {
  std::ostringstream text;
  for (const auto& [key, ids] : outputs) {
    text << key.first << '.' << key.second << ':';
    for (int32_t id : ids) text << ' ' << id;
    text << '\n';
  }
  return text.str();
}

std::string reference_file(const std::string& model) {
  const char* folder = std::getenv("TRIREME_IDENTITY_FOLDER");
  return std::string(folder ? folder : ".") + "/identity-" + model + ".txt";
}

class Identity : public ::testing::TestWithParam<std::string> {
 protected:
  // Rank 0 judges; the others only take part.
  void expect_reference(const Outputs& outputs, const std::string& what) {
    if (world_rank() != 0) return;
    EXPECT_EQ(outputs.size(), 32u + 2 * 4) << what;  // requests 7, 14, 21, 28 have three choices
    std::ifstream file(reference_file(GetParam()));
    ASSERT_TRUE(file) << "run the one-rank test first: it writes " << reference_file(GetParam());
    std::stringstream expected;
    expected << file.rdbuf();
    EXPECT_EQ(to_text(outputs), expected.str()) << what;
  }
};

TEST_P(Identity, TokensDoNotDependOnTensorOrPipelineParallelism) {
  for (const Shape shape : shapes_of(world_size(), num_layers(GetParam()))) {
    const Outputs outputs = generate(GetParam(), shape, {});
    if (world_size() == 1) std::ofstream(reference_file(GetParam())) << to_text(outputs);
    expect_reference(outputs, "tp " + std::to_string(shape.tp) + " pp " + std::to_string(shape.pp));
  }
}

TEST_P(Identity, TokensDoNotDependOnBatchingChunksCacheOrPreemption) {
  const Batching ways[] = {
      {.name = "one request at a time", .one_at_a_time = true},
      {.name = "chunks of 16", .prefill_chunk = 16},
      {.name = "padded decode steps", .graphs = DecodeGraphMode::padded},
      {.name = "no prefix cache", .prefix_caching = false},
      {.name = "a pool that makes it preempt", .num_blocks = 27},
      {.name = "small shares of prompts, stages of unequal depth", .min_prefill_share = 8, .lopsided_stages = true},
      {.name = "groups sized by what sequences can hold", .num_blocks = 0, .batched_tokens = 64, .prefill_chunk = 64},
  };
  for (const Shape shape : shapes_of(world_size()))
    for (const Batching& batching : ways) {
      // The slowest way once per world is enough.
      if (batching.one_at_a_time && shape.pp != 1) continue;
      if (batching.lopsided_stages && shape.pp == 1) continue;
      int64_t preemptions = 0;
      expect_reference(generate(GetParam(), shape, batching, &preemptions),
                       batching.name + ", tp " + std::to_string(shape.tp));
      if (batching.num_blocks == 27 && world_rank() == 0) {
        EXPECT_GT(preemptions, 0);
      }
    }
}

// Recorded and queued op by op, a step of one shape is the same work: the same bits, with sums and sampling through the
// GPUs' shared memory and through NCCL.
TEST_P(Identity, CudaGraphsDoNotChangeTokens) {
  if (cuda_device_count() < world_size() && !(std::getenv("TRIREME_SHARE_GPUS") && cuda_device_count() > 0))
    GTEST_SKIP() << "needs " << world_size() << " GPUs, this host has " << cuda_device_count();
  for (const Shape shape : shapes_of(world_size(), num_layers(GetParam())))
    for (const bool peer_memory : {true, false}) {
      if (!peer_memory && shape.tp == 1) continue;
      const Batching queued{.name = "queued", .graphs = DecodeGraphMode::padded, .peer_memory = peer_memory},
          recorded{.name = "recorded", .graphs = DecodeGraphMode::on, .peer_memory = peer_memory};
      const Outputs expected = generate(GetParam() + "-bf16", shape, queued, nullptr, DeviceKind::cuda);
      const Outputs outputs = generate(GetParam() + "-bf16", shape, recorded, nullptr, DeviceKind::cuda);
      if (world_rank() != 0) continue;
      EXPECT_EQ(to_text(outputs), to_text(expected))
          << "tp " << shape.tp << " pp " << shape.pp << (peer_memory ? "" : ", by NCCL");
    }
}

INSTANTIATE_TEST_SUITE_P(TinyModels, Identity,
                         ::testing::Values("tiny-llama", "tiny-gpt2", "tiny-gemma3", "tiny-olmo2"));

}  // namespace
}  // namespace trireme::test
