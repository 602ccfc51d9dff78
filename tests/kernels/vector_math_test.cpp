// The functions under the CPU kernels: accuracy against float64, and the same bits on every instruction set.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/small_floats.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

using cpu::InstructionSet;

constexpr InstructionSet kSets[] = {InstructionSet::portable, InstructionSet::avx2, InstructionSet::avx512};

const cpu::Loops& loops_of(InstructionSet set) {
  cpu::force_instruction_set(set);
  const cpu::Loops& loops = cpu::loops();
  cpu::force_instruction_set(cpu::best_instruction_set());
  return loops;
}

// Distance in units of the last place of the float32 next to `expected`.
double ulps(float got, double expected) {
  const float nearest = float(expected);
  const double ulp =
      double(std::nextafter(std::fabs(nearest), std::numeric_limits<float>::infinity())) - std::fabs(double(nearest));
  return std::fabs(double(got) - expected) / ulp;
}

TEST(VectorMath, ExpIsWithinOneUnitInTheLastPlace) {
  Values x = random_values(100000, 1, 87);
  const Values small = random_values(100000, 2, 1);
  x.insert(x.end(), small.begin(), small.end());
  for (InstructionSet set : kSets) {
    if (!cpu::runs_here(set)) continue;
    Values out(x.size());
    loops_of(set).exp(out.data(), x.data(), int64_t(x.size()));
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(out[i], std::exp(double(x[i]))));
    EXPECT_LT(worst, 1.1) << cpu::instruction_set_name(set);
  }
}

TEST(VectorMath, ExpKeepsItsLimits) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Values x = {0, -infinity, infinity, nan, -88, 89, -0.0f};
  for (InstructionSet set : kSets) {
    if (!cpu::runs_here(set)) continue;
    Values out(x.size());
    loops_of(set).exp(out.data(), x.data(), int64_t(x.size()));
    EXPECT_EQ(out[0], 1);
    EXPECT_EQ(out[1], 0);
    EXPECT_EQ(out[2], infinity);
    EXPECT_TRUE(std::isnan(out[3]));
    EXPECT_EQ(out[4], 0);
    EXPECT_EQ(out[5], infinity);
    EXPECT_EQ(out[6], 1);
  }
}

TEST(VectorMath, SineAndCosineAreAccurateFarOut) {
  const Values inv_freq = random_values(64, 3, 1);
  Values cosines(64), sines(64);
  double worst = 0;
  for (float position : {0.0f, 1.0f, 37.0f, 4095.0f, 131071.0f, 1000003.0f}) {
    cpu::loops().rotary_angles(cosines.data(), sines.data(), position, inv_freq.data(), 1, 64);
    for (size_t i = 0; i < 64; ++i) {
      const double angle = double(position * inv_freq[i]);
      worst = std::max(
          {worst, std::fabs(double(cosines[i]) - std::cos(angle)), std::fabs(double(sines[i]) - std::sin(angle))});
    }
  }
  EXPECT_LT(worst, 1e-7);
}

TEST(VectorMath, RowLoopsGiveTheSameBitsOnEveryInstructionSet) {
  const int64_t rows = 3, cols = 77;
  const Values x = random_values(rows * 2 * cols, 1, 20), weight = random_values(cols, 2),
               bias = random_values(cols, 3);
  std::vector<double> sum(size_t(rows * cols));
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = double(x[i]) / 3;
  const auto run_all = [&](InstructionSet set) {
    const cpu::Loops& loops = loops_of(set);
    std::vector<Values> results(7, Values(size_t(rows * cols)));
    loops.rms_norm(results[0].data(), cols, x.data(), cols, weight.data(), 1e-5f, {rows, cols});
    loops.layer_norm(results[1].data(), cols, x.data(), cols, weight.data(), bias.data(), 1e-5f, {rows, cols});
    loops.silu_mul(results[2].data(), cols, x.data(), 2 * cols, {rows, cols});
    loops.gelu_tanh(results[3].data(), cols, x.data(), cols, {rows, cols});
    results[4].assign(x.begin(), x.begin() + rows * cols);
    loops.add_partial(results[4].data(), cols, sum.data(), cols, bias.data(), {rows, cols});
    loops.exp(results[5].data(), x.data(), rows * cols);
    Values cosines(38), sines(38);
    loops.rotary_angles(cosines.data(), sines.data(), 1234, weight.data(), 1.5f, 38);
    results[6].assign(x.begin(), x.begin() + rows * cols);
    loops.rotate(results[6].data(), cosines.data(), sines.data(), 38, 38);
    return results;
  };
  const auto expected = run_all(InstructionSet::portable);
  for (InstructionSet set : {InstructionSet::avx2, InstructionSet::avx512}) {
    if (!cpu::runs_here(set)) continue;
    const auto got = run_all(set);
    for (size_t r = 0; r < got.size(); ++r)
      expect_identical({got[r].begin(), got[r].end()}, {expected[r].begin(), expected[r].end()},
                       std::string(cpu::instruction_set_name(set)) + " loop " + std::to_string(r));
  }
}

TEST(SmallFloats, HalfSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(uint16_t(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(cpu::f32_to_f16(value), bits);
    }
  }
  EXPECT_EQ(cpu::f32_to_f16(1 + 0x1p-11f), 0x3c00);  // ties to even
  EXPECT_EQ(cpu::f32_to_f16(1 + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(cpu::f32_to_f16(65519), 0x7bff);
  EXPECT_EQ(cpu::f32_to_f16(65520), 0x7c00);
  EXPECT_EQ(cpu::f32_to_f16(0x1p-25f), 0);
}

TEST(SmallFloats, Float8HasItsCornerValues) {
  EXPECT_EQ(cpu::f8_e4m3_to_f32(0x7e), 448);
  EXPECT_EQ(cpu::f8_e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(cpu::f8_e4m3_to_f32(0xb8), -1);
  EXPECT_TRUE(std::isnan(cpu::f8_e4m3_to_f32(0x7f)));
}

}  // namespace
}  // namespace trireme::test
