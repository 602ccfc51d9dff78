// Logits and greedy continuations of the tiny models against transformers, through plans, on every tp x pp of
// the world this test is started with; CPU and CUDA. CUDA runs the models whose weights and logits suit bfloat16.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/runtime/support/cluster_run.h"
#include "tests/runtime/support/goldens.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

struct Case {
  const char* model;
  DeviceKind device;
  // CPU: float32 against float32. CUDA: bf16, teacher-forced (docs/design.md 4).
  float tolerance() const { return device == DeviceKind::cpu ? 1e-4f : 5e-2f; }
};

class ModelGoldens : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const int gpus = std::getenv("TRIREME_SHARE_GPUS") && cuda_device_count() > 0 ? world_size() : cuda_device_count();
    if (GetParam().device == DeviceKind::cuda && gpus < world_size())
      GTEST_SKIP() << "needs " << world_size() << " GPUs, this host has " << cuda_device_count();
  }
  void for_each_shape(const RankRuntimeOptions& options, const std::function<void(PlanRunner&)>& body) {
    for (const Shape shape : shapes_of(world_size())) {
      SCOPED_TRACE("tp " + std::to_string(shape.tp) + " pp " + std::to_string(shape.pp));
      run_cluster(GetParam().model, shape, GetParam().device, options, body);
    }
  }
};

constexpr int32_t kWindowedChunk = 40;  // of prompts of a model with windows: about two windows

RankRuntimeOptions small_options() {
  RankRuntimeOptions options;
  options.max_num_seqs = 8;
  options.max_num_batched_tokens = 512;
  options.max_logit_rows = 600;
  options.num_blocks = 160;
  return options;
}

// Blocks in a scrambled order, so that a table that is not used shows.
BlockId scrambled_block(int32_t index, int32_t num_blocks) { return BlockId((int64_t(index) * 67 + 11) % num_blocks); }

// Blocks for positions [from_tokens, to_tokens) in every group. A windowed group drops what the query at from_tokens
// does not see and writes over it at once: its blocks come from as few as can do.
void append_blocks(StepPlan& plan, const ClusterInfo& info, int32_t from_tokens, int32_t to_tokens) {
  for (size_t group = 0; group < info.groups.size(); ++group) {
    const int32_t size = info.groups[group].block_size, window = info.groups[group].window;
    const int32_t first_live = window > 0 ? std::max(0, from_tokens - window + 1) / size : 0;
    const int32_t ring = window > 0 ? (window + kWindowedChunk) / size + 2 : INT32_MAX;
    BlockOrder order{.group = uint8_t(group), .slot = 3};
    for (int32_t index = (from_tokens + size - 1) / size; index < (to_tokens + size - 1) / size; ++index) {
      order.kind = BlockOrderKind::append;
      order.index = index;
      order.block = scrambled_block(index % ring, info.groups[group].num_blocks);
      plan.blocks.push_back(order);
    }
    order.kind = BlockOrderKind::drop_prefix;
    order.index = first_live;
    if (first_live > 0) plan.blocks.push_back(order);
  }
}

SlotOrder open_order(const std::vector<int32_t>& ids) {
  SlotOrder order;
  order.kind = SlotOrderKind::open;
  order.slot = 3;
  order.prompt_length = int32_t(ids.size());
  order.history = ids;
  order.sampling.temperature = 0;
  return order;
}

SlotOrder close_order() {
  SlotOrder order;
  order.kind = SlotOrderKind::close;
  order.slot = 3;
  return order;
}

bool has_windows(const ClusterInfo& info) {
  return std::any_of(info.groups.begin(), info.groups.end(), [](const KvGroupInfo& group) { return group.window > 0; });
}

// Prefills `ids` in chunks; `outputs(plan, row start, count)` adds what is to be read. Returns the results in order.
std::vector<StepResult> prefill(PlanRunner& runner, const std::vector<int32_t>& ids, int32_t chunk,
                                const std::function<void(StepPlan&, int32_t, int32_t)>& outputs) {
  std::vector<StepResult> results;
  if (has_windows(runner.info())) chunk = std::min(chunk, kWindowedChunk);
  for (int32_t start = 0; start < int32_t(ids.size()); start += chunk) {
    const int32_t count = std::min(chunk, int32_t(ids.size()) - start);
    StepPlan plan;
    if (start == 0) plan.slots.push_back(open_order(ids));
    append_blocks(plan, runner.info(), start, start + count);
    plan.rows.push_back({.slot = 3, .start = start, .count = count, .ids_begin = 0});
    plan.row_ids.assign(ids.begin() + start, ids.begin() + start + count);
    outputs(plan, start, count);
    results.push_back(runner.run(plan));
  }
  return results;
}

void close(PlanRunner& runner) {
  StepPlan plan;
  plan.slots.push_back(close_order());
  runner.run(plan);
}

std::vector<float> log_softmax(const std::vector<float>& logits) {
  double sum = 0;
  const double top = *std::max_element(logits.begin(), logits.end());
  for (float value : logits) sum += std::exp(double(value) - top);
  std::vector<float> result;
  for (float value : logits) result.push_back(float(double(value) - top - std::log(sum)));
  return result;
}

TEST_P(ModelGoldens, LogitsAfterEveryPromptEqualTransformers) {
  const auto prompts = read_goldens(model_path(GetParam().model));
  for_each_shape(small_options(), [&](PlanRunner& runner) {
    float worst = 0;
    for (const GoldenPrompt& prompt : prompts) {
      const std::vector<float> expected = log_softmax(prompt.last_logits);
      const auto vocab = int32_t(expected.size());
      const auto results = prefill(
          runner, prompt.ids, prompt.ids.size() % 2 ? 96 : 512, [&](StepPlan& plan, int32_t start, int32_t count) {
            if (start + count != int32_t(prompt.ids.size())) return;
            for (int32_t id = 0; id < vocab; ++id)  // the log-probability of every id at the last position
              plan.outputs.push_back({.kind = OutputKind::score,
                                      .slot = 3,
                                      .row = 0,
                                      .offset = count - 1,
                                      .position = start + count,
                                      .target = id});
          });
      ASSERT_EQ(results.back().outputs.size(), expected.size());
      for (int32_t id = 0; id < vocab; ++id)
        worst = std::max(worst, std::abs(results.back().outputs[size_t(id)].token.logprob - expected[size_t(id)]));
      close(runner);
    }
    EXPECT_LE(worst, GetParam().tolerance());
    std::printf("  %s: largest log-probability error %.2e\n", GetParam().model, double(worst));
  });
}

TEST_P(ModelGoldens, TeacherForcedLogProbabilitiesEqualTransformers) {
  const auto prompts = read_goldens(model_path(GetParam().model));
  for_each_shape(small_options(), [&](PlanRunner& runner) {
    float worst = 0;
    for (const GoldenPrompt& prompt : prompts) {
      if (prompt.logprobs.empty()) continue;
      const auto results = prefill(runner, prompt.ids, 200, [&](StepPlan& plan, int32_t start, int32_t count) {
        for (int32_t i = 0; i < count && start + i + 1 < int32_t(prompt.ids.size()); ++i)
          plan.outputs.push_back({.kind = OutputKind::score,
                                  .slot = 3,
                                  .row = 0,
                                  .offset = i,
                                  .position = start + i + 1,
                                  .target = prompt.ids[size_t(start + i + 1)]});
      });
      size_t position = 0;
      for (const StepResult& result : results)
        for (const OutputResult& output : result.outputs) {
          ASSERT_LT(position, prompt.logprobs.size());
          worst = std::max(worst, std::abs(output.token.logprob - prompt.logprobs[position]));
          ++position;
        }
      EXPECT_EQ(position, prompt.logprobs.size());
      close(runner);
    }
    EXPECT_LE(worst, GetParam().tolerance());
    std::printf("  %s: largest log-probability error %.2e\n", GetParam().model, double(worst));
  });
}

TEST_P(ModelGoldens, GreedyContinuationsEqualTransformers) {
  const auto prompts = read_goldens(model_path(GetParam().model));
  for_each_shape(small_options(), [&](PlanRunner& runner) {
    for (const GoldenPrompt& prompt : prompts) {
      if (prompt.greedy.empty()) continue;
      int32_t length = int32_t(prompt.ids.size());
      const auto results = prefill(runner, prompt.ids, 128, [&](StepPlan& plan, int32_t start, int32_t count) {
        if (start + count == length)
          plan.outputs.push_back(
              {.kind = OutputKind::draw, .slot = 3, .row = 0, .offset = count - 1, .position = length});
      });
      int32_t drawn = results.back().outputs.at(0).token.id;
      for (size_t step = 0; step < prompt.greedy.size(); ++step) {
        if (drawn != prompt.greedy[step]) {
          // On GPUs another choice is right where the reference's own two best are that close.
          EXPECT_LE(prompt.greedy_gaps[step], GetParam().device == DeviceKind::cpu ? 1e-3f : 5e-2f)
              << "prompt of " << prompt.ids.size() << " tokens, step " << step << ": got " << drawn << ", expected "
              << prompt.greedy[step];
          break;
        }
        if (step + 1 == prompt.greedy.size()) break;
        StepPlan plan;
        append_blocks(plan, runner.info(), length, length + 1);
        plan.rows.push_back({.slot = 3, .start = length, .count = 1, .ids_begin = kLastDrawn});
        plan.outputs.push_back({.kind = OutputKind::draw, .slot = 3, .row = 0, .offset = 0, .position = length + 1});
        ++length;
        drawn = runner.run(plan).outputs.at(0).token.id;
      }
      close(runner);
    }
  });
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = std::string(info.param.model) + (info.param.device == DeviceKind::cpu ? "_cpu" : "_cuda");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<Case> cases(DeviceKind device, const std::vector<const char*>& models) {
  std::vector<Case> result;
  for (const char* model : models) result.push_back({model, device});
  return result;
}

INSTANTIATE_TEST_SUITE_P(Cpu, ModelGoldens,
                         ::testing::ValuesIn(cases(DeviceKind::cpu,
                                                   {"tiny-llama", "tiny-llama3", "tiny-llama-linear", "tiny-llama-yarn",
                                                    "tiny-gpt2", "tiny-mistral", "tiny-ministral", "tiny-qwen2",
                                                    "tiny-qwen3", "tiny-gemma2", "tiny-gemma3", "tiny-phi3",
                                                    "tiny-phi3-longrope", "tiny-olmo2", "tiny-glm4",
                                                    "tiny-mistral-bf16", "tiny-qwen2-bf16", "tiny-gemma3-bf16",
                                                    "tiny-olmo2-bf16", "tiny-glm4-bf16"})),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cuda, ModelGoldens,
                         ::testing::ValuesIn(cases(DeviceKind::cuda,
                                                   {"tiny-llama-bf16", "tiny-gpt2-bf16", "tiny-qwen3-bf16",
                                                    "tiny-gemma2-bf16", "tiny-phi3-bf16", "tiny-mistral-bf16",
                                                    "tiny-qwen2-bf16", "tiny-gemma3-bf16", "tiny-olmo2-bf16",
                                                    "tiny-glm4-bf16"})),
                         case_name);

}  // namespace
}  // namespace trireme::test
