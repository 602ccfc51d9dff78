// The sampler as a whole, on one shard and on several, against a plain reference in float64.

#include "runtime/sampling/shard_sampler.h"

#include <gtest/gtest.h>

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

// ---- distributions: many draws against the exact probabilities

struct Setting {
  const char* name;
  Shape shape;
  int64_t vocab;
  SampleRow row;
};

std::vector<Setting> settings() {
  const auto row = [](float temperature, int top_k, float top_p, float min_p, float typical_p) {
    SampleRow orders;
    orders.temperature = temperature;
    orders.top_k = top_k;
    orders.top_p = top_p;
    orders.min_p = min_p;
    orders.typical_p = typical_p;
    orders.seed = 0x123456789abcdefull;
    return orders;
  };
  return {{"temperature 1", Shape::normal, 50, row(1, 0, 1, 0, 1)},
          {"temperature 0.6", Shape::normal, 300, row(0.6f, 0, 1, 0, 1)},
          {"temperature 2", Shape::normal, 100, row(2, 0, 1, 0, 1)},
          {"flat", Shape::flat, 513, row(1, 0, 1, 0, 1)},
          {"sharp", Shape::sharp, 300, row(1, 0, 1, 0, 1)},
          {"top-k 20", Shape::normal, 200, row(1, 20, 1, 0, 1)},
          {"top-k 100", Shape::normal, 400, row(1, 100, 1, 0, 1)},
          {"top-p 0.9", Shape::normal, 400, row(1, 0, 0.9f, 0, 1)},
          {"top-p 0.5", Shape::normal, 200, row(0.7f, 0, 0.5f, 0, 1)},
          {"min-p 0.1", Shape::normal, 400, row(1, 0, 1, 0.1f, 1)},
          {"typical 0.7", Shape::normal, 300, row(1, 0, 1, 0, 0.7f)},
          {"all", Shape::normal, 400, row(0.8f, 120, 0.95f, 0.01f, 0.9f)}};
}

// Chi-square statistic with bins of expectation >= 5; returns how many deviations it lies above its mean.
double chi_square_excess(const std::vector<double>& expected, const std::vector<int>& seen) {
  double statistic = 0, pooled_expected = 0;
  int pooled_seen = 0, bins = 0;
  const auto add = [&](double e, int o) {
    statistic += (o - e) * (o - e) / e;
    ++bins;
  };
  for (size_t id = 0; id < expected.size(); ++id) {
    if (expected[id] >= 5) {
      add(expected[id], seen[id]);
    } else {
      pooled_expected += expected[id];
      pooled_seen += seen[id];
    }
  }
  if (pooled_expected >= 5) add(pooled_expected, pooled_seen);
  const double freedom = std::max(1, bins - 1);
  return (statistic - freedom) / std::sqrt(2 * freedom);
}

void expect_distribution(Device device, const Setting& setting, int shards, int draws) {
  constexpr int kRows = 500;
  Generator generator(11);
  const std::vector<float> logits = make_logits(setting.shape, setting.vocab, generator);
  Problem one;
  one.add(setting.row, logits);
  const std::vector<float> z = reference_z(one, 0);
  const std::vector<int> ids = reference_survivors(setting.row, z);
  const std::vector<double> weights = weights_of(z, ids);
  std::vector<double> expected(size_t(setting.vocab), 0.0);
  for (size_t i = 0; i < ids.size(); ++i) expected[size_t(ids[i])] = draws * weights[i] / sum(weights);
  std::vector<int> seen(size_t(setting.vocab), 0);
  for (int draw = 0; draw < draws; draw += kRows) {
    Problem problem;
    for (int r = 0; r < kRows; ++r) {
      SampleRow row = setting.row;
      row.position_offset = draw + r;
      problem.add(row, logits);
    }
    for (const SampleAnswer& answer : run(device, problem, shards).answers) ++seen[size_t(answer.id)];
  }
  for (size_t id = 0; id < seen.size(); ++id)
    EXPECT_TRUE(expected[id] > 0 || seen[id] == 0) << setting.name << ": id " << id << " was cut";
  EXPECT_LT(chi_square_excess(expected, seen), 4.5) << setting.name;
}

TEST_P(ShardSamplerTest, DrawsFollowTheExactDistribution) {
  for (const Setting& setting : settings()) expect_distribution(device(), setting, 1, 100000);
}

TEST_P(ShardSamplerTest, DrawsFollowTheExactDistributionOnShards) {
  for (const Setting& setting : settings())
    if (std::string(setting.name) == "all" || std::string(setting.name) == "temperature 1")
      expect_distribution(device(), setting, 3, 20000);
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
