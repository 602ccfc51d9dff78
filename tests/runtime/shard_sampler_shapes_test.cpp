// Vocabularies and logits of awkward shapes: odd sizes, ties, narrow rows, many rows, one id left.

#include "runtime/sampling/shard_sampler.h"

#include <string>

#include "tests/runtime/support/sampling_expectations.h"

namespace trireme {
namespace {

using ShardSamplerShapesTest = ShardSamplerTest;

// Rows long enough for several blocks of a GPU's cluster, and short and odd ones.
TEST_P(ShardSamplerShapesTest, VocabulariesOfOddSizes) {
  Generator generator(13);
  for (int64_t vocab : {1, 31, 1000, 33001, 151936}) {
    Problem problem;
    problem.counts.resize(size_t(vocab));
    for (uint16_t& count : problem.counts)
      if (generator() % 4 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 5);
    for (int r = 0; r < (vocab > 100000 ? 6 : 12); ++r) {
      SampleRow row = random_row(generator, r);
      if (r % 6 == 0) row.temperature = 0;
      if (r % 6 == 1) row.temperature = 0.8f, row.top_k = 0, row.top_p = 1, row.min_p = 0, row.typical_p = 1;
      if (r % 6 == 2) row.temperature = 1, row.top_k = 50, row.top_p = 0.95f;
      if (r % 6 == 3) row.temperature = 1, row.top_k = 0, row.top_p = 0.95f, row.typical_p = 1;
      if (r % 2) row.repetition_penalty = 1.2f, row.presence_penalty = 0.5f, row.frequency_penalty = 0.1f;
      problem.add(row, make_logits(Shape::normal, vocab, generator));
    }
    expect_reference(device(), problem, ("vocab " + std::to_string(vocab)).c_str());
  }
}

// Enough rows for a GPU to give each a block of its own: lists, draws that the cut refuses at first, ties at its
// border, penalties that lower and, left to others, that raise; odd rows, which cannot be read four logits at a time.
TEST_P(ShardSamplerShapesTest, ManyRowsOfAllOrdersTogether) {
  Generator generator(21);
  for (int64_t vocab : {4003, 9216}) {
    Problem problem;
    problem.counts.resize(size_t(vocab));
    for (uint16_t& count : problem.counts)
      if (generator() % 4 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 5);
    for (int r = 0; r < 48; ++r) {
      SampleRow row = random_row(generator, r);
      row.temperature = r % 8 == 0 ? 0.0f : r % 8 < 4 ? 0.7f : 1.0f;
      row.top_k = r % 3 == 0 ? 50 : 0;
      row.typical_p = 1;
      if (r % 3 == 1) row.top_p = r % 2 ? 0.3f : 0.9f;
      if (r % 5 == 1) row.repetition_penalty = 1.3f, row.presence_penalty = 0.4f, row.frequency_penalty = 0.2f;
      if (r % 15 == 2) row.repetition_penalty = 0.8f, row.frequency_penalty = -0.5f;
      if (r % 16 == 15)  // at an id that no shape leaves out
        row.kind = int32_t(SampleKind::score), row.target = int32_t(generator() % uint32_t(vocab)) / 3 * 3;
      const std::vector<float> narrow = normal_logits(vocab, 0.05f, generator);
      const Shape shape = kShapes[size_t(r / 4) % std::size(kShapes)];
      problem.add(row, r % 4 == 1 ? narrow : make_logits(shape, vocab, generator));
    }
    expect_reference(device(), problem, ("many rows, vocab " + std::to_string(vocab)).c_str());
  }
}

// What a model of random weights gives: every logit within a hair of the others.
TEST_P(ShardSamplerShapesTest, NarrowRowsAreCutExactly) {
  Generator generator(14);
  Problem problem;
  for (float deviation : {1e-2f, 1e-4f})
    for (int r = 0; r < 5; ++r) {
      SampleRow row;
      row.seed = 5;
      row.position_offset = r;
      if (r == 0) row.top_p = 0.95f;
      if (r == 1) row.top_k = 9000;
      if (r == 2) row.top_k = 20000, row.top_p = 0.5f;
      if (r == 3) row.temperature = 0.7f, row.top_p = 0.3f;
      if (r == 4) row.min_p = 0.99f;
      std::vector<float> logits = normal_logits(40000, deviation, generator);
      if (r % 2) logits[33333] = 3;  // one id far from the others
      problem.add(row, logits);
    }
  expect_reference(device(), problem, "narrow rows");
}

TEST_P(ShardSamplerShapesTest, TiesAcrossTheWholeRowGoToTheLowerIds) {
  Problem problem;
  const int64_t vocab = 40000;
  for (int r = 0; r < 8; ++r) {
    SampleRow row;
    row.seed = 77;
    row.position_offset = r;
    row.top_logprobs = 20;
    if (r == 0) row.temperature = 0;
    if (r == 1) row.top_k = 50;
    if (r == 2) row.top_k = 15000;
    if (r == 3) row.top_p = 0.6f;
    if (r == 4) row.top_k = 30001, row.top_p = 0.4f;
    if (r == 5) row.typical_p = 0.5f;
    std::vector<float> logits(size_t(vocab), 1.0f);
    for (size_t id = 0; id < logits.size(); ++id)
      if (r != 3 && id % 5 < 2) logits[id] = r % 2 ? -kInfinity : 0.5f;
    problem.add(row, logits);
  }
  expect_reference(device(), problem, "ties");
}

TEST_P(ShardSamplerShapesTest, OneIdLeftInTheLastOfManyBlocks) {
  Problem problem;
  const int64_t vocab = 33001;
  for (int r = 0; r < 6; ++r) {
    SampleRow row;
    row.top_logprobs = 3;
    if (r == 1) row.temperature = 0;
    if (r == 2) row.top_p = 0.5f;
    if (r == 3) row.top_k = 3;
    if (r == 4) row.kind = int32_t(SampleKind::score), row.target = 32999;
    if (r == 5) row.typical_p = 0.2f, row.temperature = 0.5f;
    std::vector<float> logits(size_t(vocab), -kInfinity);
    logits[32999] = -3;
    problem.add(row, logits);
  }
  for (int shards : {1, 2, 5})
    for (const SampleAnswer& answer : run(device(), problem, shards).answers) {
      EXPECT_EQ(answer.id, 32999);
      EXPECT_EQ(answer.logprob, 0);
      EXPECT_EQ(answer.top_count, 1);
    }
  for (float poison : {kNaN, -kNaN, kInfinity}) {
    Problem poisoned = problem;
    for (int r = 0; r < 6; ++r) poisoned.logits[size_t(r * vocab + 1 + 6000 * r)] = poison;
    for (int shards : {1, 3})
      for (const SampleAnswer& answer : run(device(), poisoned, shards).answers) {
        EXPECT_EQ(answer.non_finite, 1);
        EXPECT_EQ(answer.id, -1);
      }
  }
}

INSTANTIATE_SHARD_SAMPLER_TESTS(ShardSamplerShapesTest);

}  // namespace
}  // namespace trireme
