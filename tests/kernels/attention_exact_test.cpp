// The CPU's promise for attention: one value, whatever the batch, the cut of the prompt, the block size, the threads
// and the instruction set. Block tables are shuffled and unused places hold NaN, so that reading past the end shows.

#include <gtest/gtest.h>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/support/attention_batch.h"

namespace trireme::test {
namespace {

using cpu::InstructionSet;

class AttentionExact : public testing::Test {
 protected:
  void TearDown() override {
    set_cpu_threads(1);
    cpu::force_instruction_set(cpu::best_instruction_set());
  }

  std::vector<double> run(AttentionShape shape, const std::vector<AttentionRow>& rows,
                          AttentionOptions options = {0.125f}) {
    PagedCache cache(shape, rows, stream_);
    const Tensor q =
        to_device(cache.row_queries(), {cache.num_tokens(), shape.q_heads, shape.head_dim}, DType::f32, stream_);
    Tensor out(DType::f32, {cache.num_tokens(), shape.q_heads, shape.head_dim}, kCpu);
    paged_attention(out, q, cache.kv(), cache.batch(), options, stream_);
    return to_host(out, stream_);
  }

  Stream stream_{kCpu};
};

std::vector<double> part(const std::vector<double>& values, int64_t begin, int64_t count, AttentionShape shape) {
  const int64_t width = shape.q_heads * shape.head_dim;
  return {values.begin() + begin * width, values.begin() + (begin + count) * width};
}

TEST_F(AttentionExact, EveryCutOfThePromptGivesTheSameRows) {
  for (AttentionShape shape : {AttentionShape{9, 3, 64, 16}, {4, 1, 20, 16}}) {
    for (int32_t window : {0, 50}) {
      const AttentionOptions options{0.125f, window};
      const auto whole = run(shape, {{230, 0, 230}}, options);
      for (auto [begin, count] :
           {std::pair<int64_t, int64_t>{0, 1}, {63, 1}, {64, 1}, {229, 1}, {10, 100}, {100, 130}, {127, 3}, {5, 16}})
        expect_identical(run(shape, {{230, begin, count}}, options), part(whole, begin, count, shape),
                         "from " + std::to_string(begin));
    }
  }
}

TEST_F(AttentionExact, EveryBatchGivesTheSameRows) {
  const AttentionShape shape{9, 3, 64, 16};
  const auto batch = run(shape, {{70, 0, 70}, {230, 229, 1}, {129, 100, 29}, {33, 32, 1}});
  expect_identical(part(batch, 0, 70, shape), run(shape, {{70, 0, 70}}), "first row");
  expect_identical(part(batch, 70, 1, shape), run(shape, {{230, 229, 1}}), "second row");
  expect_identical(part(batch, 71, 29, shape), run(shape, {{129, 100, 29}}), "third row");
  expect_identical(part(batch, 100, 1, shape), run(shape, {{33, 32, 1}}), "fourth row");
}

TEST_F(AttentionExact, EveryBlockSizeGivesTheSameRows) {
  const auto expected = run({9, 3, 64, 16}, {{230, 100, 130}});
  for (int64_t block_size : {1, 5, 32, 64, 300})
    expect_identical(run({9, 3, 64, block_size}, {{230, 100, 130}}), expected, "block size");
}

TEST_F(AttentionExact, EveryThreadCountGivesTheSameBits) {
  const auto expected = run({9, 3, 64, 16}, {{230, 0, 230}, {70, 69, 1}});
  for (int threads : {2, 5}) {
    set_cpu_threads(threads);
    expect_identical(run({9, 3, 64, 16}, {{230, 0, 230}, {70, 69, 1}}), expected, std::to_string(threads) + " threads");
  }
}

TEST_F(AttentionExact, EveryInstructionSetGivesTheSameBits) {
  for (AttentionShape shape : {AttentionShape{9, 3, 64, 16}, {4, 2, 37, 7}, {1, 1, 256, 16}}) {
    for (AttentionOptions options : {AttentionOptions{0.125f}, {0.5f, 70, 4.0f}}) {
      cpu::force_instruction_set(InstructionSet::portable);
      const auto expected = run(shape, {{150, 20, 130}, {70, 69, 1}}, options);
      for (InstructionSet set : {InstructionSet::avx2, InstructionSet::avx512}) {
        if (!cpu::runs_here(set)) continue;
        cpu::force_instruction_set(set);
        expect_identical(run(shape, {{150, 20, 130}, {70, 69, 1}}, options), expected, cpu::instruction_set_name(set));
      }
    }
  }
}

}  // namespace
}  // namespace trireme::test
