#include "parallel/rank_sum.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/check.h"
#include "base/half.h"

namespace trireme {
namespace {

template <typename T>
std::vector<T> summed(DType dtype, std::vector<std::vector<T>> terms, size_t into) {
  std::vector<const void*> pointers;
  for (const std::vector<T>& term : terms) pointers.push_back(term.data());
  sum_in_rank_order(dtype, terms[into].data(), pointers, int64_t(terms[0].size()));
  return terms[into];
}

TEST(RankSum, AddsFloatsInRankOrderWhicheverTermIsOverwritten) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (size_t size : {0u, 1u, 511u, 512u, 513u, 2000u}) {
    std::vector<std::vector<float>> terms(4, std::vector<float>(size));
    for (std::vector<float>& term : terms)
      for (float& value : term) value = normal(random);
    for (size_t into = 0; into < terms.size(); ++into) {
      const std::vector<float> got = summed(DType::f32, terms, into);
      for (size_t i = 0; i < size; ++i)
        ASSERT_EQ(got[i], ((terms[0][i] + terms[1][i]) + terms[2][i]) + terms[3][i]) << i;
    }
  }
}

TEST(RankSum, AddsEveryTypeItNames) {
  EXPECT_EQ(summed<double>(DType::f64, {{1e16, 1}, {1, 2}, {-1e16, 3}}, 2), (std::vector<double>{0, 6}));
  EXPECT_EQ(summed<int32_t>(DType::i32, {{INT32_MAX}, {1}}, 0), (std::vector<int32_t>{INT32_MIN}));
  EXPECT_EQ(summed<int64_t>(DType::i64, {{int64_t(1) << 40}, {-3}}, 1), (std::vector<int64_t>{(int64_t(1) << 40) - 3}));
  // 256 + 1 + 1: in bf16 steps (of 2) it would stay at 256; in float32, rounded once, it is 258.
  const uint16_t big = f32_to_bf16(256), one = f32_to_bf16(1);
  EXPECT_EQ(bf16_to_f32(summed<uint16_t>(DType::bf16, {{big}, {one}, {one}}, 0)[0]), 258);
  EXPECT_THROW(summed<uint8_t>(DType::u8, {{1}, {2}}, 0), InternalError);
}

}  // namespace
}  // namespace trireme
