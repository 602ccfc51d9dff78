// The sampler as a whole, on one shard and on several, against a plain reference in float64: orders and what becomes of
// them.

#include "runtime/sampling/shard_sampler.h"

#include <algorithm>
#include <barrier>
#include <span>

#include "tests/runtime/support/sampling_expectations.h"

namespace trireme {
namespace {

TEST_P(ShardSamplerTest, DrawsWhatTheReferenceDrawsOnAnyNumberOfShards) {
  Generator generator(1);
  for (Shape shape : kShapes)
    for (int64_t vocab : {7, 130, 1031, 5000}) {
      Problem problem;
      for (int r = 0; r < 24; ++r) problem.add(random_row(generator, r), make_logits(shape, vocab, generator));
      expect_reference(device(), problem,
                       ("shape " + std::to_string(int(shape)) + " vocab " + std::to_string(vocab)).c_str());
    }
}

TEST_P(ShardSamplerTest, EachCutAloneEqualsTheReferenceWhereCandidatesProveNothing) {
  Generator generator(2);
  Problem problem;
  for (int r = 0; r < 40; ++r) {
    SampleRow row;
    row.seed = 99;
    row.position_offset = r;
    if (r % 5 == 0) row.top_p = 0.9f;
    if (r % 5 == 1) row.top_k = 700;
    if (r % 5 == 2) row.min_p = 0.02f;
    if (r % 5 == 3) row.typical_p = 0.8f;
    if (r % 5 == 4) row.top_k = 1500, row.top_p = 0.8f, row.typical_p = 0.9f;
    problem.add(row, make_logits(r < 20 ? Shape::normal : Shape::ties, 20000, generator));
  }
  expect_reference(device(), problem, "flat rows");
}

// As many rows as are answered by a block each on cuda, with survivors from one to more than a few hundred ids.
TEST_P(ShardSamplerTest, CutsThatTheGreatestIdsProveEqualTheReference) {
  Generator generator(12);
  Problem problem;
  const int64_t vocab = 12000;
  problem.lengths = {40, 3};
  problem.counts.resize(size_t(2 * vocab));
  for (uint16_t& count : problem.counts)
    if (generator() % 8 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 4);
  for (int r = 0; r < 72; ++r) {
    SampleRow row;
    row.seed = generator();
    row.position_offset = r;
    row.slot = r % 2;
    row.temperature = std::initializer_list<float>{1.0f, 0.6f, 2.5f}.begin()[r / 3 % 3];
    if (r % 6 != 4) row.top_p = std::initializer_list<float>{0.9f, 0.5f, 0.999f, 1e-5f}.begin()[r / 6 % 4];
    if (r % 6 == 3) row.top_k = 65 + 40 * (r / 6 % 6);
    if (r % 6 == 3 && r % 4 == 1) row.typical_p = 0.7f;
    if (r % 6 == 4) row.min_p = 0.001f;
    if (r % 6 == 5) row.repetition_penalty = 1.2f, row.presence_penalty = 0.4f, row.min_p = 1e-3f;
    row.top_logprobs = r % 7 == 0 ? 20 : 0;
    row.want_rank = r % 5 == 0;
    const Shape shapes[] = {Shape::sharp, Shape::sharp, Shape::normal, Shape::ascending, Shape::holes};
    problem.add(row, make_logits(shapes[generator() % 5], vocab, generator));
  }
  expect_reference(device(), problem, "many cut rows");
}

TEST_P(ShardSamplerTest, GreedyTakesTheLowestIdAmongTies) {
  Problem problem;
  SampleRow row;
  row.temperature = 0;
  std::vector<float> values(1000, -1.0f);
  values[0] = -0.0f;
  values[500] = values[123] = 0.0f;
  problem.add(row, values);
  values[0] = -1;
  problem.add(row, values);
  const Outcome outcome = run(device(), problem, 5);
  EXPECT_EQ(outcome.answers[0].id, 0);
  EXPECT_EQ(outcome.answers[1].id, 123);
  EXPECT_EQ(outcome.gathers, 1);
}

TEST_P(ShardSamplerTest, CollectivesDependOnTheOrdersAlone) {
  Generator generator(3);
  const auto gathers = [&](const SampleRow& row) {
    Problem flat, sharp;
    flat.add(row, make_logits(Shape::flat, 3000, generator));
    sharp.add(row, make_logits(Shape::sharp, 3000, generator));
    const int count = run(device(), flat, 2).gathers;
    EXPECT_EQ(run(device(), sharp, 2).gathers, count);
    return count;
  };
  SampleRow row;
  EXPECT_EQ(gathers(row), 1) << "no cut";
  row.top_k = 50, row.top_p = 0.9f, row.min_p = 0.01f, row.typical_p = 0.9f;
  EXPECT_EQ(gathers(row), 1) << "top-k within the candidates";
  row.top_logprobs = 5;
  EXPECT_EQ(gathers(row), 2) << "and its rank";
  row = SampleRow{};
  row.min_p = 0.1f;
  EXPECT_EQ(gathers(row), 3) << "min-p: heads, stats, best";
  row.top_p = 0.9f;
  EXPECT_EQ(gathers(row), 6) << "and one search";
}

TEST_P(ShardSamplerTest, PenaltiesMasksBiasAndSuppressedIdsAreApplied) {
  Generator generator(4);
  Problem problem;
  const int64_t vocab = 900;
  problem.lengths = {5, 9, 700};
  problem.counts.resize(size_t(3 * vocab));
  for (uint16_t& count : problem.counts)
    if (generator() % 4 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 5);
  problem.counts[3] = 0xffff;
  const size_t words = size_t(vocab + 31) / 32;
  problem.batch.masks.resize(2 * words);
  for (uint32_t& word : problem.batch.masks) word = generator();
  for (int r = 0; r < 60; ++r) {
    SampleRow row = random_row(generator, r);
    row.slot = r % 3;
    if (r % 2) row.repetition_penalty = 1.3f;
    if (r % 3) row.presence_penalty = 0.5f, row.frequency_penalty = -0.25f;
    if (r % 4 == 1) row.mask_row = r % 8 == 1;
    if (r % 5 < 2) {
      row.bias_begin = int(problem.batch.bias_ids.size());
      for (int i = 0; i < 20; ++i) {
        problem.batch.bias_ids.push_back(i * 37 + r % 5);
        problem.batch.bias_values.push_back(float(i % 7) - 2.0f);
      }
      row.bias_count = 20;
    }
    row.suppress_begin = int(problem.batch.suppressed.size());
    row.suppress_count = r % 6;
    for (int i = 0; i < row.suppress_count; ++i) problem.batch.suppressed.push_back(i * 150);
    problem.add(row, make_logits(r % 7 ? Shape::normal : Shape::ties, vocab, generator));
  }
  expect_reference(device(), problem, "processed rows");
}

TEST_P(ShardSamplerTest, ScoreRowsGiveLogprobAndRankOfTheTarget) {
  Generator generator(5);
  Problem problem;
  for (int r = 0; r < 16; ++r) {
    SampleRow row;
    row.kind = int32_t(SampleKind::score);
    row.target = r == 0 ? 0 : r == 1 ? 2999 : int32_t(generator() % 3000);
    row.top_logprobs = r % 3 * 10;
    row.temperature = 0.1f;  // of no account here
    row.repetition_penalty = 2;
    problem.add(row, make_logits(r % 2 ? Shape::ties : Shape::normal, 3000, generator));
  }
  expect_reference(device(), problem, "score rows");
}

TEST_P(ShardSamplerTest, ARowThatIsNotFiniteFailsAlone) {
  Generator generator(6);
  for (float poison : {kNaN, -kNaN, kInfinity})
    for (int kind = 0; kind < 4; ++kind) {
      Problem problem;
      for (int r = 0; r < 3; ++r) {
        SampleRow row;
        if (kind == 1) row.temperature = 0;
        if (kind == 2) row.top_p = 0.9f;
        if (kind == 3) row.kind = int32_t(SampleKind::score), row.target = 3;
        row.top_logprobs = 2;
        problem.add(row, make_logits(Shape::normal, 2000, generator));
      }
      problem.logits[2000 + 1234] = poison;
      for (int shards : {1, 3}) {
        const Outcome outcome = run(device(), problem, shards);
        EXPECT_EQ(outcome.answers[1].non_finite, 1);
        EXPECT_EQ(outcome.answers[1].id, -1);
        expect_answer(problem, 0, outcome.answers[0]);
        expect_answer(problem, 2, outcome.answers[2]);
      }
    }
}

TEST_P(ShardSamplerTest, NothingIsDrawnWhereNothingIsAllowed) {
  Problem problem;
  for (int r = 0; r < 4; ++r) {
    SampleRow row;
    row.mask_row = 0;
    if (r == 1) row.temperature = 0;
    if (r == 2) row.top_p = 0.5f;
    if (r == 3) row.top_k = 3;
    problem.add(row, std::vector<float>(100, 1.0f));
  }
  problem.batch.masks.resize(4, 0);
  for (int shards : {1, 2})
    for (const SampleAnswer& answer : run(device(), problem, shards).answers) {
      EXPECT_EQ(answer.id, -1);
      EXPECT_EQ(answer.non_finite, 0);
    }
  problem.batch.masks[2] = 1u << 5;  // one id is left: 69
  for (int shards : {1, 5})
    for (const SampleAnswer& answer : run(device(), problem, shards).answers) EXPECT_EQ(answer.id, 69);
}

TEST_P(ShardSamplerTest, ExtremeTemperaturesAndRangesStayInOrder) {
  Generator generator(7);
  Problem problem;
  for (float temperature : {1e-6f, 1e-5f, 1e-3f, 100.0f, 1e30f})
    for (float top_p : {1.0f, 0.9f}) {
      SampleRow row;
      row.temperature = temperature;
      row.top_p = top_p;
      problem.add(row, normal_logits(1500, 3, generator));
      problem.add(row, make_logits(Shape::wide, 1500, generator));
    }
  expect_reference(device(), problem, "temperatures");
}

// Steps that ask for the same as the one before send nothing anew, whichever of the ring's memory they use; positions
// move all the same. Orders that change come through.
TEST_P(ShardSamplerTest, ANumberedBatchIsDrawnFromWhatTheDeviceHas) {
  Generator generator(31);
  Problem problem;
  for (int r = 0; r < 16; ++r) problem.add(random_row(generator, r), make_logits(kShapes[0], 997, generator));
  for (SampleRow& row : problem.batch.rows) row.temperature = 1.5f;
  Problem other = problem;
  for (size_t r = 0; r < 16; ++r) other.batch.rows[r].seed += 1, other.batch.rows[r].top_logprobs = int32_t(r % 3);
  for (int shards : {1, 3}) {
    const std::vector<int32_t> expected = repeated_draws(device(), problem, shards, 6, 1);
    const std::vector<int32_t> changed = repeated_draws(device(), other, shards, 2, 1);
    EXPECT_FALSE(std::ranges::equal(changed, std::span(expected).first(changed.size())));
    Problem numbered = problem;
    numbered.batch.number = 1;
    EXPECT_EQ(repeated_draws(device(), numbered, shards, 6, 1), expected);

    std::vector<int32_t> before, after, again;
    Problem changing = numbered;
    std::barrier<> meeting(shards);
    on_shards(device(), changing, shards, [&](size_t s, ShardOfProblem& shard) {
      const auto draw = [&](std::vector<int32_t>& into, int entry, int32_t position) {
        const std::vector<int32_t> ids = shard.draw(entry, position);
        if (s == 0) into.insert(into.end(), ids.begin(), ids.end());
        meeting.arrive_and_wait();
      };
      draw(before, 0, 0);
      if (s == 0) changing.batch = other.batch, changing.batch.number = 2;
      meeting.arrive_and_wait();
      draw(after, 1, 0), draw(after, 0, 1);
      if (s == 0) changing.batch = problem.batch, changing.batch.number = 3;
      meeting.arrive_and_wait();
      draw(again, 0, 0), draw(again, 1, 1);
    });
    EXPECT_TRUE(std::ranges::equal(before, std::span(expected).first(before.size())));
    EXPECT_EQ(after, changed);
    EXPECT_TRUE(std::ranges::equal(again, std::span(expected).first(again.size())));
  }
}

// Equal logits give equal draws on both back ends.
TEST(ShardSamplerBackEnds, CudaDrawsWhatTheCpuDraws) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  Generator generator(12);
  for (Shape shape : kShapes) {
    Problem problem;
    for (int r = 0; r < 64; ++r) problem.add(random_row(generator, r), make_logits(shape, 30011, generator));
    const Outcome cpu = run(kCpu, problem, 1), cuda = run({DeviceKind::cuda, 0}, problem, 1);
    for (size_t r = 0; r < cpu.answers.size(); ++r) {
      EXPECT_EQ(cpu.answers[r].id, cuda.answers[r].id) << "shape " << int(shape) << " row " << r;
      EXPECT_NEAR(cpu.answers[r].logprob, cuda.answers[r].logprob, 2e-6 + 1e-6 * std::abs(cpu.answers[r].logprob));
    }
  }
}

INSTANTIATE_SHARD_SAMPLER_TESTS(ShardSamplerTest);

}  // namespace
}  // namespace trireme
