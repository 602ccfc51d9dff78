// The CPU's promise: one value, whatever the batch, the threads, the instruction set, the storage and the cut.

#include <gtest/gtest.h>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/linear.h"
#include "tests/support/linear_weights.h"

namespace trireme::test {
namespace {

using cpu::InstructionSet;

constexpr DType kStorages[] = {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_1};

class LinearExact : public testing::Test {
 protected:
  void TearDown() override {
    set_cpu_threads(1);
    cpu::force_instruction_set(cpu::best_instruction_set());
  }

  std::vector<double> run(const LinearWeight& weight, const Values& x, DType out_dtype = DType::f32) {
    const int64_t tokens = int64_t(x.size()) / weight.in_features;
    Tensor out(out_dtype, {tokens, weight.out_features}, kCpu);
    linear(out, to_device(x, {tokens, weight.in_features}, DType::f32, stream_), weight, TensorView(), stream_);
    return to_host(out, stream_);
  }

  Stream stream_{kCpu};
};

Values rows_of(const Values& x, int64_t begin, int64_t count, int64_t cols) {
  return Values(x.begin() + begin * cols, x.begin() + (begin + count) * cols);
}

TEST_F(LinearExact, EveryBatchSizeGivesTheSameRows) {
  const int64_t cols = 320, tokens = 133;
  for (DType storage : kStorages) {
    for (int granule : {64, 80, 96}) {
      const LinearWeight weight = load_weight(random_rows(storage, 83, cols, 3), granule, stream_);
      const Values x = random_values(tokens * cols, 4);
      const auto whole = run(weight, x);
      for (int64_t batch : {1, 2, 3, 4, 5, 11, 12, 13, 33, 97}) {
        const auto part = run(weight, rows_of(x, 20, batch, cols));
        const std::vector<double> expected(whole.begin() + 20 * 83, whole.begin() + (20 + batch) * 83);
        expect_identical(part, expected, std::string(dtype_name(storage)) + " batch " + std::to_string(batch));
      }
    }
  }
}

TEST_F(LinearExact, EveryThreadCountGivesTheSameBits) {
  for (DType storage : kStorages) {
    const LinearWeight weight = load_weight(random_rows(storage, 200, 512, 3), 64, stream_);
    for (int64_t tokens : {1, 40, 300}) {
      const Values x = random_values(tokens * 512, 4);
      set_cpu_threads(1);
      const auto expected = run(weight, x);
      for (int threads : {2, 3, 5}) {
        set_cpu_threads(threads);
        expect_identical(run(weight, x), expected, std::to_string(threads) + " threads");
      }
    }
  }
}

TEST_F(LinearExact, EveryInstructionSetGivesTheSameBits) {
  for (DType storage : kStorages) {
    for (int granule : {64, 80}) {
      const LinearWeight weight = load_weight(random_rows(storage, 83, 352, 3), granule, stream_);
      for (int64_t tokens : {1, 2, 3, 4, 7, 40}) {
        const Values x = random_values(tokens * 352, 4);
        cpu::force_instruction_set(InstructionSet::portable);
        const auto expected = run(weight, x, DType::f64);
        for (InstructionSet set : {InstructionSet::avx2, InstructionSet::avx512}) {
          if (!cpu::runs_here(set)) continue;
          cpu::force_instruction_set(set);
          expect_identical(run(weight, x, DType::f64), expected, cpu::instruction_set_name(set));
        }
      }
    }
  }
}

TEST_F(LinearExact, BlockStoragesEqualTheirFloat32Values) {
  for (DType storage : {DType::q8_0, DType::q4_1, DType::bf16, DType::f16}) {
    const EncodedRows rows = random_rows(storage, 83, 352, 3);
    EncodedRows plain{DType::f32, rows.rows, rows.cols, encode(rows.values, DType::f32), rows.values};
    for (int64_t tokens : {1, 3, 50}) {
      const Values x = random_values(tokens * 352, 4);
      expect_identical(run(load_weight(rows, 64, stream_), x), run(load_weight(plain, 64, stream_), x),
                       std::string(dtype_name(storage)));
    }
  }
}

// The order that kernels/linear.h promises, spelled out.
TEST_F(LinearExact, SumsInThePromisedOrder) {
  const EncodedRows rows = random_rows(DType::f32, 21, 150, 3);
  const Values x = random_values(6 * 150, 4);
  const auto got = run(load_weight(rows, 64, stream_), x, DType::f64);
  std::vector<double> expected;
  for (size_t t = 0; t < 6; ++t) {
    for (size_t n = 0; n < 21; ++n) {
      double total = 0;
      for (size_t begin = 0; begin < 150; begin += 64) {
        float sum = 0;
        for (size_t k = begin; k < std::min<size_t>(begin + 64, 150); ++k)
          sum = std::fma(x[t * 150 + k], rows.values[n * 150 + k], sum);
        total += double(sum);
      }
      expected.push_back(total);
    }
  }
  expect_identical(got, expected, "spelled out");
}

Values columns_of(const Values& x, int64_t cols, int64_t begin, int64_t end) {
  Values out;
  for (size_t r = 0; r < x.size() / size_t(cols); ++r)
    out.insert(out.end(), x.begin() + int64_t(r) * cols + begin, x.begin() + int64_t(r) * cols + end);
  return out;
}

TEST_F(LinearExact, ShardsCutAtGranulesAddUpToTheWhole) {
  const int64_t cols = 352;
  const EncodedRows rows = random_rows(DType::f32, 40, cols, 3);
  const Values x = random_values(9 * cols, 4);
  const auto whole = run(load_weight(rows, 64, stream_), x);
  for (int64_t cut : {64, 192, 320}) {
    std::vector<double> sums[2];
    for (int part = 0; part < 2; ++part) {
      const int64_t begin = part == 0 ? 0 : cut, end = part == 0 ? cut : cols;
      const Values w = columns_of(rows.values, cols, begin, end);
      const EncodedRows shard{DType::f32, 40, end - begin, encode(w, DType::f32), w};
      sums[part] = run(load_weight(shard, 64, stream_), columns_of(x, cols, begin, end), DType::f64);
    }
    // Float32 granule sums of like size add exactly in float64; once rounded to float32 the order is out of sight.
    std::vector<double> rounded_sums;
    for (size_t i = 0; i < whole.size(); ++i) rounded_sums.push_back(double(float(sums[0][i] + sums[1][i])));
    expect_identical(rounded_sums, whole, "cut at " + std::to_string(cut));
  }
}

}  // namespace
}  // namespace trireme::test
