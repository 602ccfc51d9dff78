// The arithmetic of sampling, the row loops in every instruction set, and the ops of one shard on both back
// ends. The ops together are tested in tests/runtime/shard_sampler_test.cpp.

#include "kernels/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/sampling_rule.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/sample_vector.h"
#include "kernels/sample_rows.h"

namespace trireme {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(SamplingRule, PhiloxGivesThePublishedVectors) {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  for (int round = 0; round < kPhiloxRounds; ++round) philox_round(a, b, c, d, philox_key(0, round));
  EXPECT_EQ(a, 0x6627e8d5u);
  EXPECT_EQ(b, 0xe169c58du);
  EXPECT_EQ(c, 0xbc57ac4cu);
  EXPECT_EQ(d, 0x9b00dbd8u);
  a = b = c = d = ~0u;
  for (int round = 0; round < kPhiloxRounds; ++round) philox_round(a, b, c, d, philox_key(~uint64_t(0), round));
  EXPECT_EQ(a, 0x408f276du);
  EXPECT_EQ(b, 0x41c83b0eu);
  EXPECT_EQ(c, 0xa20bc7c6u);
  EXPECT_EQ(d, 0x6d5451fdu);
}

TEST(SamplingRule, ExponentialAndLogarithmAreAccurateAndMonotone) {
  float previous = 2;
  for (uint32_t bits = 0; bits <= 0x42ae0000u; bits += 997) {
    const float x = -bits_float(bits), e = rule_exp(x);
    ASSERT_NEAR(e / std::exp(double(x)), 1, 1e-7) << x;
    ASSERT_LE(e, previous) << x;
    previous = e;
  }
  for (uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 9973) {
    const double exact = std::log(double(bits_float(bits)));
    ASSERT_NEAR(rule_log(bits_float(bits)), exact, 1.1e-7 * std::max(1e-3, std::abs(exact))) << bits_float(bits);
  }
  EXPECT_EQ(rule_exp(0), 1);
  EXPECT_EQ(rule_exp(-kInfinity), 0);
  EXPECT_EQ(rule_exp(std::nanf("")), 0);
}

TEST(SamplingRule, GumbelKeepsBothTails) {
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += bits < 5000 ? 1 : 99991) {
    const double exact = -std::log(-std::log1p(-(double(bits) + 0.5) * 0x1p-32));
    ASSERT_NEAR(gumbel(uint32_t(bits)), exact, 2e-7 * (1 + std::abs(exact))) << bits;
  }
  EXPECT_NEAR(gumbel(~0u), -std::log(33 * std::log(2.0)), 1e-6);
}

TEST(SamplingRule, OrderKeysOrderFloats) {
  const float values[] = {-kInfinity, -1e30f, -1, -1e-45f, 0, 1e-45f, 1, 2, 1e30f, kInfinity};
  for (size_t i = 1; i < std::size(values); ++i) {
    EXPECT_LT(order_key(values[i - 1]), order_key(values[i]));
    EXPECT_EQ(key_float(order_key(values[i])), values[i]);
  }
  EXPECT_EQ(order_key(-0.0f), order_key(0.0f));
  EXPECT_EQ(order_key(-kInfinity), kMinusInfinityKey);
}

TEST(SamplingRule, MassesRoundDownAndSumsFit) {
  EXPECT_EQ(fixed_mass(1), uint64_t(1) << kMassBits);
  EXPECT_EQ(fixed_mass(0), 0u);
  EXPECT_EQ(fixed_mass(0.3f), uint64_t(std::floor(double(0.3f) * 0x1p45)));
  EXPECT_EQ(fixed_mass(0x1p-45f), 1u);
  EXPECT_EQ(fixed_mass(0x1.fp-46f), 0u);
  EXPECT_LE(fixed_mass(1), ~uint64_t(0) / uint64_t(kMaxSampledVocab));
}

TEST(SamplingRule, NeededMassIsTheLeastIntegerNotBelowTheShare) {
  EXPECT_EQ(needed_mass(0.5f, 10), 5u);
  EXPECT_EQ(needed_mass(0.5f, 11), 6u);
  EXPECT_EQ(needed_mass(0.9f, 1000), 900u);  // the float 0.9 is less than 0.9
  EXPECT_EQ(needed_mass(1e-40f, uint64_t(1) << 63), 1u);
  EXPECT_EQ(needed_mass(0, 100), 1u);
  EXPECT_EQ(needed_mass(-1, 100), 1u);
  EXPECT_EQ(needed_mass(0x1p-20f, uint64_t(1) << 63), uint64_t(1) << 43);
  EXPECT_EQ(needed_mass(0.99999994f, uint64_t(1) << 63), (uint64_t(1) << 63) - (uint64_t(1) << 39));
}

TEST(SamplingRule, TheLogarithmOfAMassIsExact) {
  std::mt19937_64 generator(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t mass = (uint64_t(1) << kMassBits) + (generator() >> (i % 46 + 1));
    const long double exact = std::log((long double)(mass)) - kMassBits * std::log(2.0L);
    ASSERT_NEAR(mass_log(mass), double(exact), 1e-15 * std::max(1.0, double(exact))) << mass;
  }
  EXPECT_EQ(mass_log(uint64_t(1) << kMassBits), 0);
  EXPECT_NEAR(mass_log(uint64_t(1) << 63), 18 * std::log(2.0), 2e-15 * 18);
  EXPECT_NEAR(mass_log(3), std::log(3.0) - kMassBits * std::log(2.0), 1e-14);
}

// ---- the row loops

std::vector<float> odd_row(int64_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(generator);
  for (size_t i = 0; i < x.size(); i += 7) x[i] = i % 2 ? -kInfinity : std::round(x[i]);
  return x;
}

SampleState state_of(const std::vector<float>& x, float max_distance) {
  SampleRow row;
  SampleState state;
  open_state(state, row, *std::max_element(x.begin(), x.end()));
  state.max_distance = max_distance;
  return state;
}

class RowLoops : public testing::TestWithParam<cpu::InstructionSet> {
 protected:
  void SetUp() override {
    if (!cpu::runs_here(GetParam())) GTEST_SKIP() << "not on this processor";
    before_ = cpu::instruction_set();
    cpu::force_instruction_set(GetParam());
  }
  void TearDown() override {
    if (cpu::runs_here(GetParam())) cpu::force_instruction_set(before_);
  }
  cpu::InstructionSet before_ = cpu::InstructionSet::portable;
};

TEST_P(RowLoops, EqualTheRuleBitForBit) {
  for (int64_t n : {1, 15, 64, 255, 256, 257, 1000, 5003}) {
    const std::vector<float> x = odd_row(n, uint32_t(n));
    const SampleState state = state_of(x, 9);
    const int32_t first = 77;
    uint64_t mass = 0;
    SampleStats stats{0, 0, 0};
    std::vector<uint64_t> bins(kSampleBins, 0), expected_bins(kSampleBins, 0);
    cpu::BestDraw best;
    const NoiseKey noise{123456789012345ull, 2, 40};
    for (size_t i = 0; i < x.size(); ++i) {
      const float distance = state.z_max - x[i];
      mass += mass_below(distance);
      if (!survives(state, x[i], first + int32_t(i))) continue;
      stats.mass += mass_below(distance);
      stats.moment += moment_mass(distance);
      ++stats.count;
      const double score = draw_score(x[i], noise, first + int32_t(i));
      if (best.id < 0 || score > best.score) best = {score, first + int32_t(i)};
    }
    for (float value : x) expected_bins[order_key(value) >> 21] += mass_below(state.z_max - value);
    EXPECT_EQ(cpu::mass_sum(x.data(), n, state.z_max), mass);
    const SampleStats found = cpu::survivor_stats(x.data(), n, first, state, true);
    EXPECT_EQ(found.mass, stats.mass);
    EXPECT_EQ(found.moment, stats.moment);
    EXPECT_EQ(found.count, stats.count);
    cpu::add_to_bins(bins.data(), x.data(), n, first, state, SampleSearch::mass, 0);
    EXPECT_EQ(bins, expected_bins);
    const cpu::BestDraw draw = cpu::best_draw(x.data(), n, first, &state, noise);
    EXPECT_EQ(draw.id, best.id);
    EXPECT_EQ(draw.score, best.score);
    SampleState finite = state;
    finite.raw_max = state.z_max;
    finite.log_sum = 2.34;
    std::vector<float> logprobs(x.size());
    cpu::log_probabilities(logprobs.data(), x.data(), n, finite);
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(logprobs[i], float(double(x[i]) - double(finite.raw_max) - finite.log_sum));
  }
}

TEST_P(RowLoops, SelectInOrderAndLeaveMinusInfinityOut) {
  for (int64_t n : {0, 3, 64, 65, 4000}) {
    std::vector<float> x = odd_row(n, 5);
    for (size_t i = 0; i < x.size(); i += 3) x[i] = 2;  // many ties
    std::vector<int> ids;
    for (size_t i = 0; i < x.size(); ++i)
      if (x[i] > -kInfinity) ids.push_back(int(i));
    std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return x[size_t(a)] > x[size_t(b)]; });
    SampleEntry entries[kSampleCandidates];
    cpu::select_best(entries, kSampleCandidates, x.data(), x.data(), n, 1000);
    for (size_t i = 0; i < std::size(entries); ++i)
      EXPECT_EQ(entries[i].id, i < ids.size() ? 1000 + ids[i] : -1) << n << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, RowLoops,
                         testing::Values(cpu::InstructionSet::portable, cpu::InstructionSet::avx2,
                                         cpu::InstructionSet::avx512));

// ---- ops of one shard

class SampleOps : public testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    set_current_device(device());
  }
  Device device() const { return {GetParam(), 0}; }

  template <typename T>
  Tensor upload(const std::vector<T>& values) {
    Tensor tensor(DType::u8, {int64_t(std::max<size_t>(1, values.size()) * sizeof(T))}, device());
    const Stream stream(device());
    copy_async(tensor.data(), values.data(), values.size() * sizeof(T), device(), stream);
    stream.synchronize();
    return tensor;
  }
  template <typename T>
  std::vector<T> download(const Tensor& tensor, size_t count) {
    std::vector<T> values(count);
    const Stream stream(device());
    copy_async(values.data(), tensor.data(), count * sizeof(T), device(), stream);
    stream.synchronize();
    return values;
  }
};

TEST_P(SampleOps, HeadsHoldMaximumMassAndBestId) {
  const int vocab = 3001, begin = 500;
  std::vector<float> logits = odd_row(2 * vocab, 9);
  logits[5] = 100;  // row 0: greedy
  std::vector<SampleRow> rows(2);
  rows[0].temperature = 0;
  rows[1].kind = int32_t(SampleKind::score);
  rows[1].target = begin + 17;
  const Tensor row_data = upload(rows), index = upload(std::vector<SampleIndex>(2)), values = upload(logits);
  const Tensor states = upload(std::vector<SampleState>(2)), answers = upload(std::vector<SampleAnswer>(2));
  const Tensor z = upload(logits), length = upload(std::vector<int32_t>{4}), heads = upload(std::vector<SampleHead>(2));
  SampleShard shard;
  shard.rows = static_cast<const SampleRow*>(row_data.data());
  shard.index = static_cast<const SampleIndex*>(index.data());
  shard.states = static_cast<SampleState*>(states.data());
  shard.answers = static_cast<SampleAnswer*>(answers.data());
  shard.num_rows = 2;
  shard.vocab_begin = begin;
  shard.vocab_local = vocab;
  shard.vocab_size = 9000;
  shard.logits = static_cast<const float*>(values.data());
  shard.logits_stride = vocab;
  shard.z = static_cast<float*>(z.data());
  shard.length = static_cast<const int32_t*>(length.data());
  shard.device = device();
  const Stream stream(device());
  sample_heads(static_cast<SampleHead*>(heads.data()), shard, stream);
  stream.synchronize();
  const std::vector<SampleHead> found = download<SampleHead>(heads, 2);
  for (size_t r = 0; r < 2; ++r) {
    const float* row = logits.data() + r * size_t(vocab);
    const float maximum = *std::max_element(row, row + vocab);
    uint64_t mass = 0;
    for (int i = 0; i < vocab; ++i) mass += mass_below(maximum - row[i]);
    EXPECT_EQ(found[r].raw_max, maximum);
    EXPECT_EQ(found[r].raw_mass, mass);
    EXPECT_EQ(found[r].non_finite, 0);
  }
  EXPECT_EQ(found[0].best_id, begin + 5);
  EXPECT_EQ(found[1].best_id, begin + 17);
  EXPECT_EQ(found[1].best_raw, logits[size_t(vocab + 17)]);
}

TEST(SampleOpsChecks, AVocabularyBeyondTheMassesIsRefused) {
  SampleRow row;
  SampleIndex index;
  SampleState state;
  SampleAnswer answer;
  SampleHead head;
  SampleShard shard;
  shard.rows = &row;
  shard.index = &index;
  shard.states = &state;
  shard.answers = &answer;
  shard.vocab_size = int32_t(kMaxSampledVocab) + 1;
  EXPECT_THROW(sample_heads(&head, shard, Stream(kCpu)), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Cpu, SampleOps, testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, SampleOps, testing::Values(DeviceKind::cuda));

}  // namespace
}  // namespace trireme
