// Beam search and everything that changes which ids may be drawn, against transformers' generate: all cases of a model
// in one continuous batch, at every tp x pp of the world this test is started with.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/runtime/support/generation_goldens.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

std::string ids_text(const std::vector<int32_t>& ids) {
  std::string text;
  for (int32_t id : ids) text += " " + std::to_string(id);
  return text;
}

class GenerationGoldens : public ::testing::TestWithParam<std::string> {
 protected:
  static Generated run(const std::string& model, Shape shape, DeviceKind device,
                       const std::vector<GenerationCase>& cases) {
    GenerationRun run{.model = model, .shape = shape, .device = device, .options = {}, .scheduling = {}};
    run.options.max_num_seqs = 64;
    run.options.max_num_batched_tokens = 256;
    run.options.num_blocks = 600;
    run.options.max_model_len = 128;
    run.scheduling.prefill_chunk = 24;
    std::vector<StopRequest> requests;
    for (const GenerationCase& golden : cases) requests.push_back(golden.stop_request);
    return generate(run, requests);
  }
};

TEST_P(GenerationGoldens, IdsAndScoresAreTheOracles) {
  const std::vector<GenerationCase> cases = read_generation_cases(GetParam());
  for (const Shape shape : shapes_of(world_size())) {
    Generated generated = run(GetParam(), shape, DeviceKind::cpu, cases);
    if (world_rank() != 0) continue;
    for (const GenerationCase& golden : cases) {
      const RequestId id = golden.stop_request.request.id;
      SCOPED_TRACE("tp " + std::to_string(shape.tp) + " pp " + std::to_string(shape.pp) + ", case " +
                   std::to_string(id) + ": " + golden.name);
      for (size_t choice = 0; choice < golden.outputs.size(); ++choice) {
        const GeneratedChoice& got = generated.choices[{id, int32_t(choice)}];
        EXPECT_EQ(ids_text(got.ids), ids_text(golden.outputs[choice])) << "output " << choice;
        if (!golden.scores.empty()) {
          EXPECT_NEAR(got.beam_score, golden.scores[choice], 1e-4) << "output " << choice;
        }
      }
    }
  }
}

// GPUs compute in bfloat16 (docs/design.md 4): greedy ids where the reference's gaps are wide, and the best beam's
// log-probability within 5e-2 a token.
TEST_P(GenerationGoldens, IdsAndScoresAreCloseOnGpus) {
  const std::string model = GetParam() + "-bf16";
  if (cuda_device_count() < world_size())
    GTEST_SKIP() << "needs " << world_size() << " GPUs, this host has " << cuda_device_count();
  const std::vector<GenerationCase> cases = read_generation_cases(model);
  for (const Shape shape : shapes_of(world_size())) {
    Generated generated = run(model, shape, DeviceKind::cuda, cases);
    if (world_rank() != 0) continue;
    for (const GenerationCase& golden : cases) {
      SCOPED_TRACE("tp " + std::to_string(shape.tp) + " pp " + std::to_string(shape.pp) + ": " + golden.name);
      const GeneratedChoice& got = generated.choices[{golden.stop_request.request.id, 0}];
      if (golden.scores.empty()) {
        EXPECT_EQ(ids_text(got.ids), ids_text(golden.outputs[0]));
      } else {
        EXPECT_NEAR(got.beam_score, golden.scores[0], 5e-2);  // a mean: length_penalty is 1
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TinyModels, GenerationGoldens, ::testing::Values("tiny-llama", "tiny-gpt2"));

}  // namespace
}  // namespace trireme::test
