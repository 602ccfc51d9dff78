#pragma once
// What a ShardSampler must answer, by a plain reference in float64, and the fixture of its tests.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/runtime/support/sampling_reference.h"
#include "tests/runtime/support/shard_threads.h"

namespace trireme {

inline void expect_logprob(double got, double expected) {
  EXPECT_NEAR(got, expected, 1e-6 * std::max(1.0, std::abs(expected)));
}

inline void expect_tops(const Problem& problem, size_t r, const SampleAnswer& answer) {
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

inline void expect_answer(const Problem& problem, size_t r, const SampleAnswer& answer) {
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

inline void expect_reference(Device device, const Problem& problem, const char* what) {
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

}  // namespace trireme

#define INSTANTIATE_SHARD_SAMPLER_TESTS(Suite)                            \
  INSTANTIATE_TEST_SUITE_P(Cpu, Suite, testing::Values(DeviceKind::cpu)); \
  INSTANTIATE_TEST_SUITE_P(Cuda, Suite, testing::Values(DeviceKind::cuda))
