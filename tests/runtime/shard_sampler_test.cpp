// The sampler as a whole, on one shard and on several, against a plain reference in float64.

#include "runtime/sampling/shard_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <span>
#include <string>

#include "tests/runtime/support/sampling_reference.h"
#include "tests/runtime/support/shard_threads.h"

namespace trireme {
namespace {

void expect_logprob(double got, double expected) {
  EXPECT_NEAR(got, expected, 1e-6 * std::max(1.0, std::abs(expected)));
}

void expect_tops(const Problem& problem, size_t r, const SampleAnswer& answer) {
  std::vector<int> ids;
  for (int64_t id = 0; id < problem.vocab; ++id)
    if (problem.row(r)[size_t(id)] > -kInfinity) ids.push_back(int(id));
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int a, int b) { return problem.row(r)[size_t(a)] > problem.row(r)[size_t(b)]; });
  const int expected = std::min(problem.batch.rows[r].top_logprobs, int(ids.size()));
  ASSERT_EQ(answer.top_count, expected) << "row " << r;
  for (int i = 0; i < expected; ++i) {
    EXPECT_EQ(answer.top_ids[i], ids[size_t(i)]) << "row " << r << " place " << i;
    expect_logprob(answer.top_logprobs[i], reference_logprob(problem.row(r), ids[size_t(i)]));
  }
}

void expect_answer(const Problem& problem, size_t r, const SampleAnswer& answer) {
  const SampleRow& row = problem.batch.rows[r];
  const int id = is_score(row) ? row.target : reference_draw(problem, r);
  ASSERT_EQ(answer.id, id) << "row " << r;
  EXPECT_EQ(answer.non_finite, 0) << "row " << r;
  expect_tops(problem, r, answer);
  if (id < 0) return;
  SCOPED_TRACE("row " + std::to_string(r));
  expect_logprob(answer.logprob, reference_logprob(problem.row(r), id));
  EXPECT_EQ(answer.rank, has_rank(row) ? reference_rank(problem.row(r), id) : 0) << "row " << r;
}

void expect_reference(Device device, const Problem& problem, const char* what) {
  SCOPED_TRACE(what);
  Outcome whole;
  for (int shards : {1, 2, 3, 5}) {
    SCOPED_TRACE(std::to_string(shards) + " shards");
    const Outcome outcome = run(device, problem, shards);
    for (size_t r = 0; r < outcome.answers.size(); ++r) {
      expect_answer(problem, r, outcome.answers[r]);
      if (shards == 1) continue;
      EXPECT_NEAR(outcome.answers[r].logprob, whole.answers[r].logprob,
                  1e-6 + 1e-6 * std::abs(whole.answers[r].logprob));
    }
    if (shards == 1) whole = outcome;
  }
}

class ShardSamplerTest : public testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    set_current_device(device());
  }
  Device device() const { return {GetParam(), 0}; }
};

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

// Beams: the values of every id in float64, from which the candidates must be the best.
std::vector<double> reference_beam_values(const Problem& problem, size_t r) {
  Problem logprobs = problem;
  logprobs.batch.rows[r].temperature = 1;
  const std::span<const float> raw = problem.row(r);
  const int best = int(std::max_element(raw.begin(), raw.end()) - raw.begin());
  const double log_sum = double(raw[size_t(best)]) - reference_logprob(raw, best);
  for (size_t id = 0; id < raw.size(); ++id) logprobs.logits[r * raw.size() + id] = float(double(raw[id]) - log_sum);
  const std::vector<float> values = reference_z(logprobs, r);
  return {values.begin(), values.end()};
}

void expect_candidates(const Problem& problem, size_t r, const std::vector<SampleEntry>& found) {
  const std::vector<double> values = reference_beam_values(problem, r);
  std::vector<double> best;
  for (double value : values)
    if (value > -kInfinity) best.push_back(value);
  std::sort(best.rbegin(), best.rend());
  best.resize(std::min(best.size(), size_t(problem.batch.rows[r].num_candidates)));
  ASSERT_EQ(found.size(), best.size()) << "row " << r;
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE("row " + std::to_string(r) + " place " + std::to_string(i));
    expect_logprob(found[i].value, best[i]);
    expect_logprob(found[i].value, values[size_t(found[i].id)]);
    expect_logprob(found[i].raw, reference_logprob(problem.row(r), found[i].id));
    if (i == 0) continue;
    const bool in_order =
        found[i - 1].value > found[i].value || (found[i - 1].value == found[i].value && found[i - 1].id < found[i].id);
    EXPECT_TRUE(in_order);
  }
}

SampleRow beam_row(int num_candidates) {
  SampleRow row;
  row.kind = int32_t(SampleKind::candidates);
  row.num_candidates = num_candidates;
  return row;
}

TEST_P(ShardSamplerTest, BeamRowsGiveTheBestProcessedLogprobsTheSameBitsOnAnyNumberOfShards) {
  Generator generator(8);
  for (Shape shape : kShapes) {
    Problem problem;
    const int64_t vocab = shape == Shape::holes ? 130 : 2600;
    problem.counts.resize(size_t(vocab));
    for (uint16_t& count : problem.counts)
      if (generator() % 5 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 3);
    problem.batch.masks.assign(size_t(vocab + 31) / 32, 0x5a5a5a5au);
    problem.batch.suppressed = {0, 7, 99};
    problem.batch.bias_ids = {3, 64, 129};
    problem.batch.bias_values = {20, -5, 10};  // above 0 together with the log-probability
    for (int r = 0; r < 24; ++r) {
      SampleRow row = r % 4 == 3 ? random_row(generator, r) : beam_row(1 + int(generator() % kSampleCandidates));
      row.temperature = 0.5f;  // of no account to beams
      if (r % 2) row.repetition_penalty = 1.4f;
      if (r % 3 == 1) row.presence_penalty = 0.25f, row.frequency_penalty = 0.5f;
      if (r % 5 == 2) row.mask_row = 0;
      if (r % 7 > 4) row.bias_count = row.suppress_count = 3;
      row.top_logprobs = r % 3 * 7;
      problem.add(row, make_logits(shape, vocab, generator));
    }
    const Outcome whole = run(device(), problem, 1);
    for (int shards : {1, 2, 5}) {
      SCOPED_TRACE("shape " + std::to_string(int(shape)) + " shards " + std::to_string(shards));
      const Outcome outcome = run(device(), problem, shards);
      for (size_t r = 0; r < outcome.answers.size(); ++r) {
        EXPECT_TRUE(same_bits<SampleEntry>(outcome.candidates[r], whole.candidates[r])) << "row " << r;
        if (!is_beam(problem.batch.rows[r])) {
          expect_answer(problem, r, outcome.answers[r]);
          continue;
        }
        EXPECT_EQ(outcome.answers[r].id, -1);
        EXPECT_EQ(outcome.answers[r].rank, 0);
        expect_tops(problem, r, outcome.answers[r]);
        expect_candidates(problem, r, outcome.candidates[r]);
      }
    }
  }
}

TEST_P(ShardSamplerTest, BeamRowsWithoutFiniteLogitsFailAloneAndTiesGoToTheLowerId) {
  Problem problem;
  for (int r = 0; r < 4; ++r) problem.add(beam_row(3), std::vector<float>(200, r == 2 ? -kInfinity : 1.0f));
  problem.logits[200 + 150] = kNaN;
  problem.batch.rows[3].mask_row = 0;
  problem.batch.masks.assign(7, 0);
  problem.batch.masks[4] = 1u << 3;  // 131
  for (int shards : {1, 2, 3, 5}) {
    const Outcome outcome = run(device(), problem, shards);
    ASSERT_EQ(outcome.candidates[0].size(), 3u);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(outcome.candidates[0][size_t(i)].id, i);
    EXPECT_EQ(outcome.answers[1].non_finite, 1);
    EXPECT_TRUE(outcome.candidates[1].empty() && outcome.candidates[2].empty());
    EXPECT_EQ(outcome.answers[2].non_finite, 0);
    ASSERT_EQ(outcome.candidates[3].size(), 1u);
    EXPECT_EQ(outcome.candidates[3][0].id, 131);
    EXPECT_NEAR(outcome.candidates[3][0].raw, -std::log(200.0), 1e-6);
  }
}

TEST_P(ShardSamplerTest, OnlyStepsWithBeamsPayForTheirRounds) {
  Generator generator(9);
  Problem problem;
  problem.add(SampleRow{}, make_logits(Shape::normal, 500, generator));
  EXPECT_EQ(run(device(), problem, 2).gathers, 1);
  problem.add(beam_row(8), make_logits(Shape::normal, 500, generator));
  EXPECT_EQ(run(device(), problem, 2).gathers, 3) << "heads, masses, candidates";
  for (int refused : {0, kSampleCandidates + 1}) {
    problem.batch.rows[1].num_candidates = refused;
    on_shards(device(), problem, 1, [](size_t, ShardOfProblem& shard) { EXPECT_THROW(shard.draw(0), InternalError); });
  }
}

// Rows long enough for several blocks of a GPU's cluster, and short and odd ones.
TEST_P(ShardSamplerTest, VocabulariesOfOddSizes) {
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
TEST_P(ShardSamplerTest, ManyRowsOfAllOrdersTogether) {
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
TEST_P(ShardSamplerTest, NarrowRowsAreCutExactly) {
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

TEST_P(ShardSamplerTest, TiesAcrossTheWholeRowGoToTheLowerIds) {
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

TEST_P(ShardSamplerTest, OneIdLeftInTheLastOfManyBlocks) {
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

INSTANTIATE_TEST_SUITE_P(Cpu, ShardSamplerTest, testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, ShardSamplerTest, testing::Values(DeviceKind::cuda));

}  // namespace
}  // namespace trireme
