// The sampler against the distributions that transformers' processors and warpers give, on the whole vocabulary and on
// shards of it: where an id may be drawn, how often it is drawn, and the candidates of beams.

#include <gtest/gtest.h>

#include <boost/math/special_functions/gamma.hpp>

#include "tests/runtime/support/sampling_goldens.h"

namespace trireme {
namespace {

using test::GoldenSetting;
using test::SamplingGoldens;

constexpr int kCopies = 20;  // rows of one step with the same logits, at consecutive positions

const SamplingGoldens& goldens() {
  static const SamplingGoldens read = test::read_sampling_goldens();
  return read;
}

// kCopies rows per logits row: row c * logits rows + l draws at position c.
Problem drawing_problem(size_t s) {
  Problem problem;
  SampleRow row = test::add_setting(problem, goldens().settings[s], goldens().vocab);
  row.seed = 0x9d2c5680u + s;
  for (int copy = 0; copy < kCopies; ++copy)
    for (const std::vector<float>& logits : goldens().logits) {
      row.position_offset = copy;
      problem.add(row, logits);
    }
  return problem;
}

// At least `draws`, dealt out to the logits rows.
std::vector<int32_t> draws_of(Device device, size_t s, int shards, int draws) {
  const Problem problem = drawing_problem(s);
  const int rows = int(problem.batch.rows.size());
  return repeated_draws(device, problem, shards, (draws + rows - 1) / rows, kCopies);
}

// The probability of a chi-square statistic at least as large; bins of expectation < 5 are one, or join the least.
double chi_square_p(std::span<const float> probabilities, const std::vector<int>& seen, int draws) {
  std::vector<std::pair<double, double>> bins;  // expected, seen
  std::pair<double, double> rest{0, 0};
  for (size_t id = 0; id < seen.size(); ++id) {
    const std::pair<double, double> bin{double(probabilities[id]) * draws, seen[id]};
    if (bin.first >= 5) {
      bins.push_back(bin);
    } else {
      rest.first += bin.first;
      rest.second += bin.second;
    }
  }
  std::sort(bins.begin(), bins.end());
  if (rest.first >= 5) {
    bins.push_back(rest);
  } else {
    bins.at(0).first += rest.first;
    bins.at(0).second += rest.second;
  }
  if (bins.size() < 2) return 1;
  double statistic = 0;
  for (const auto& [expected, count] : bins) statistic += (count - expected) * (count - expected) / expected;
  return boost::math::gamma_q(double(bins.size() - 1) / 2, statistic / 2);
}

void expect_distribution(size_t s, const std::vector<int32_t>& ids) {
  const size_t rows = goldens().logits.size(), vocab = size_t(goldens().vocab);
  for (size_t l = 0; l < rows; ++l) {
    SCOPED_TRACE(goldens().settings[s].name + ", logits row " + std::to_string(l));
    const std::span<const float> probabilities{goldens().probabilities.data() + (s * rows + l) * vocab, vocab};
    std::vector<int> seen(vocab, 0);
    for (size_t i = l; i < ids.size(); i += rows) {
      ASSERT_TRUE(ids[i] >= 0 && size_t(ids[i]) < vocab) << ids[i];
      ++seen[size_t(ids[i])];
    }
    for (size_t id = 0; id < vocab; ++id)
      EXPECT_TRUE(seen[id] == 0 || probabilities[id] > 0) << "id " << id << " should have been cut";
    EXPECT_GT(chi_square_p(probabilities, seen, int(ids.size() / rows)), 1e-4);
  }
}

class SamplingGoldenTest : public ::testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  }
  Device device() const { return {GetParam(), 0}; }
};

TEST_P(SamplingGoldenTest, DrawsFollowTheExactDistributionOnAnyNumberOfShards) {
  // Where shards draw what the whole row draws, id by id, more draws prove nothing more: the CPU saves the time.
  const int sharded_draws = device().is_cuda() ? 100000 : 25000;
  for (size_t s = 0; s < goldens().settings.size(); ++s) {
    const std::vector<int32_t> whole = draws_of(device(), s, 1, 100000);
    expect_distribution(s, whole);
    for (int shards : {2, 3}) {
      const std::vector<int32_t> joined = draws_of(device(), s, shards, sharded_draws);
      expect_distribution(s, joined);
      EXPECT_TRUE(std::equal(joined.begin(), joined.end(), whole.begin())) << goldens().settings[s].name << shards;
    }
  }
}

TEST(SamplingGoldenBackEnds, CudaDrawsWhatTheCpuDraws) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  for (size_t s = 0; s < goldens().settings.size(); ++s)
    EXPECT_EQ(draws_of({DeviceKind::cuda, 0}, s, 2, 6000), draws_of(kCpu, s, 1, 6000)) << goldens().settings[s].name;
}

// Row l of beam setting b is row b * logits rows + l.
Problem beam_problem(int num_candidates) {
  Problem problem;
  for (const GoldenSetting& setting : goldens().beams) {
    SampleRow row = test::add_setting(problem, setting, goldens().vocab);
    row.kind = int32_t(SampleKind::candidates);
    row.num_candidates = num_candidates;
    for (const std::vector<float>& logits : goldens().logits) problem.add(row, logits);
  }
  return problem;
}

void expect_golden_candidates(const std::vector<SampleEntry>& found, size_t r, int asked) {
  const size_t first = r * test::kGoldenCandidates;
  size_t expected = 0;
  while (expected < size_t(std::min(asked, test::kGoldenCandidates)) && goldens().beam_ids[first + expected] >= 0)
    ++expected;
  if (expected < test::kGoldenCandidates)
    ASSERT_EQ(found.size(), expected);
  else
    ASSERT_GE(found.size(), expected);
  for (size_t i = 0; i < expected; ++i) {
    const float value = goldens().beam_values[first + i], logprob = goldens().beam_logprobs[first + i];
    EXPECT_EQ(found[i].id, goldens().beam_ids[first + i]) << "place " << i;
    EXPECT_NEAR(found[i].value, value, 1e-6 + 2e-7 * std::abs(value)) << "place " << i;
    EXPECT_NEAR(found[i].raw, logprob, 1e-6 + 2e-7 * std::abs(logprob)) << "place " << i;
  }
}

TEST_P(SamplingGoldenTest, BeamCandidatesAreThoseOfHuggingFace) {
  for (int asked : {1, 7, 32, kSampleCandidates}) {
    const Problem problem = beam_problem(asked);
    const Outcome whole = run(device(), problem, 1);
    for (size_t r = 0; r < problem.batch.rows.size(); ++r) {
      SCOPED_TRACE(goldens().beams[r / goldens().logits.size()].name + ", row " + std::to_string(r) + ", asked " +
                   std::to_string(asked));
      EXPECT_EQ(whole.answers[r].id, -1);
      expect_golden_candidates(whole.candidates[r], r, asked);
    }
    for (int shards : {2, 3, 5}) expect_same(run(device(), problem, shards), whole, std::to_string(shards) + " shards");
  }
}

TEST(SamplingGoldenBackEnds, CudaFindsTheSameBeamCandidates) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const Problem problem = beam_problem(kSampleCandidates);
  expect_same(run({DeviceKind::cuda, 0}, problem, 2), run(kCpu, problem, 3), "cuda, cpu");
}

INSTANTIATE_TEST_SUITE_P(Cpu, SamplingGoldenTest, ::testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, SamplingGoldenTest, ::testing::Values(DeviceKind::cuda));

}  // namespace
}  // namespace trireme
