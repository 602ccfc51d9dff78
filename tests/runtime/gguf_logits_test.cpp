// A tiny model of every GGUF family computes the same bits from its GGUF file as from its Hugging Face directory
// (scripts/goldens/make_gguf_families.py), on every tp x pp of the world this test is started with.

#include <gtest/gtest.h>

#include "tests/runtime/support/cluster_run.h"

namespace trireme::test {
namespace {

constexpr int32_t kTokens = 20, kVocabulary = 24;

// One prompt; the log-probability of every id after it.
StepPlan scoring_plan(const ClusterInfo& info) {
  StepPlan plan;
  SlotOrder open;
  open.kind = SlotOrderKind::open;
  open.slot = 0;
  open.prompt_length = kTokens;
  for (int32_t i = 0; i < kTokens; ++i) open.history.push_back((7 * i + 3) % kVocabulary);
  plan.row_ids = open.history;
  plan.slots.push_back(open);
  for (size_t group = 0; group < info.groups.size(); ++group) {
    const int32_t size = info.groups[group].block_size;
    for (int32_t index = 0; index * size < kTokens; ++index) {
      BlockOrder order{.group = uint8_t(group), .slot = 0};
      order.kind = BlockOrderKind::append;
      order.index = index;
      order.block = index;
      plan.blocks.push_back(order);
    }
  }
  plan.rows.push_back({.slot = 0, .start = 0, .count = kTokens, .ids_begin = 0});
  for (int32_t id = 0; id < kVocabulary; ++id)
    plan.outputs.push_back({.kind = OutputKind::score,
                            .slot = 0,
                            .row = 0,
                            .offset = kTokens - 1,
                            .position = kTokens,
                            .target = id});
  return plan;
}

std::vector<float> log_probabilities(const std::string& model, Shape shape) {
  RankRuntimeOptions options;
  options.max_num_seqs = 2;
  options.max_num_batched_tokens = 64;
  options.max_logit_rows = 64;
  options.num_blocks = 16;
  std::vector<float> result;
  run_cluster("../checkpoint/golden/families/" + model, shape, DeviceKind::cpu, options, [&](PlanRunner& runner) {
    for (const OutputResult& output : runner.run(scoring_plan(runner.info())).outputs)
      result.push_back(output.token.logprob);
  });
  return result;
}

TEST(GgufLogits, EqualThoseOfTheHuggingFaceDirectory) {
  for (const std::string family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"}) {
    for (const Shape shape : shapes_of(world_size())) {
      const auto directory = log_probabilities(family, shape), gguf = log_probabilities(family + ".gguf", shape);
      if (world_rank() != 0) continue;
      ASSERT_EQ(directory.size(), size_t(kVocabulary)) << family;
      EXPECT_EQ(gguf, directory) << family;
      EXPECT_NE(directory.front(), directory.back()) << family << ": the logits say nothing";
    }
  }
}

}  // namespace
}  // namespace trireme::test
