// Rows of beams: candidates instead of draws.

#include "runtime/sampling/shard_sampler.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "tests/runtime/support/sampling_expectations.h"

namespace trireme {
namespace {

using ShardSamplerBeamTest = ShardSamplerTest;

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

TEST_P(ShardSamplerBeamTest, BeamRowsGiveTheBestProcessedLogprobsTheSameBitsOnAnyNumberOfShards) {
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

TEST_P(ShardSamplerBeamTest, BeamRowsWithoutFiniteLogitsFailAloneAndTiesGoToTheLowerId) {
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

TEST_P(ShardSamplerBeamTest, OnlyStepsWithBeamsPayForTheirRounds) {
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

INSTANTIATE_SHARD_SAMPLER_TESTS(ShardSamplerBeamTest);

}  // namespace
}  // namespace trireme
