// Where a step is cut in two, and what its halves are.

#include "runtime/step_inputs.h"

#include "tests/support/backend.h"

namespace trireme::test {
namespace {

TEST(SplitToken, IsNearTheMiddleAndNeverAtAnEnd) {
  EXPECT_EQ(split_token(2048, 0), 0);
  EXPECT_EQ(split_token(1023, 1024), 0);
  EXPECT_EQ(split_token(1024, 1024), 512);
  EXPECT_EQ(split_token(2048, 1024), 1024);
  EXPECT_EQ(split_token(1, 1), 0);
  EXPECT_EQ(split_token(2, 1), 1);
  EXPECT_EQ(split_token(5, 1), 3);
  EXPECT_EQ(split_token(1100, 1024), 512);  // whole tiles of 128 first
  for (int64_t tokens = 2; tokens < 3000; ++tokens) {
    const int64_t cut = split_token(tokens, 1);
    ASSERT_TRUE(cut > 0 && cut < tokens) << tokens;
    ASSERT_LE(std::abs(tokens - 2 * cut), 130) << tokens;
  }
}

class StepInputsTest : public BackendTest {
 protected:
  std::vector<int32_t> values(TensorView view) const {
    std::vector<int32_t> host(size_t(view.elements()));
    if (!host.empty()) copy_async(host.data(), view.data(), size_t(view.bytes()), device(), stream());
    stream().synchronize();
    return host;
  }
};

using Ids = std::vector<int32_t>;

// Three rows of 1, 6 and 1 tokens: the cut at 4 falls into the second.
TEST_P(StepInputsTest, ARowThatIsCutIsARowOfBothParts) {
  KvPool pool({KvGroupSpec{.num_layers = 1, .kv_heads = 1, .head_dim = 64, .query_heads = 2}}, {8}, device());
  SlotTable slots({.num_slots = 4, .max_blocks_per_slot = 4, .ring = 3, .track_counts = false, .vocab = {0, 10}}, pool,
                  device());
  StepPlan plan;
  plan.step = 0;
  for (const SlotId slot : {2, 0, 3}) {
    SlotOrder order;
    order.kind = SlotOrderKind::open;
    order.slot = slot;
    order.history = {1};
    order.prompt_length = 1;
    plan.slots.push_back(order);
  }
  plan.row_ids = {5, 1, 2, 3, 4, 5, 6, 7};
  plan.rows.push_back({.slot = 2, .start = 0, .count = 1, .ids_begin = 0});
  plan.rows.push_back({.slot = 0, .start = 10, .count = 6, .ids_begin = 1});
  plan.rows.push_back({.slot = 3, .start = 20, .count = 1, .ids_begin = 7});
  plan.outputs.push_back({.kind = OutputKind::draw, .slot = 0, .row = 1, .offset = 5, .position = 16});
  slots.apply(plan, 0, stream());

  StepInputsMemory memory({.max_tokens = 16, .max_rows = 4, .max_outputs = 4, .min_split_tokens = 8}, pool, device());
  StepInputs inputs(memory, device(), false);
  inputs.prepare(plan, slots, 0, stream());
  inputs.resolve(slots, stream());
  ASSERT_EQ(inputs.num_parts(), 2);
  EXPECT_EQ(inputs.part_tokens(0), (Range{0, 4}));
  EXPECT_EQ(inputs.part_tokens(1), (Range{4, 8}));
  const AttentionBatch first = inputs.batch(slots, 0, 0), second = inputs.batch(slots, 1, 0);
  EXPECT_EQ(values(first.row_begin), (Ids{0, 1, 4}));
  EXPECT_EQ(values(first.row_slots), (Ids{2, 0}));
  EXPECT_EQ(values(first.positions), (Ids{0, 10, 11, 12}));
  EXPECT_EQ(values(first.token_slots), (Ids{2, 0, 0, 0}));
  EXPECT_EQ(values(second.row_begin), (Ids{0, 3, 4}));
  EXPECT_EQ(values(second.row_slots), (Ids{0, 3}));
  EXPECT_EQ(values(second.positions), (Ids{13, 14, 15, 20}));
  EXPECT_EQ(second.num_tokens, 4);
  EXPECT_EQ(second.max_row_tokens, 6);  // more than 1: it reads what the first part appended (kernels/attention.h)
  EXPECT_EQ(values(inputs.output_tokens()), (Ids{6}));  // of the step

  plan.rows.pop_back();  // seven tokens: whole
  inputs.prepare(plan, slots, 0, stream());
  ASSERT_EQ(inputs.num_parts(), 1);
  EXPECT_EQ(values(inputs.batch(slots, 0, 0).row_begin), (Ids{0, 1, 7}));
}

// As a decode graph has it: the cut depends on the padded size alone, whatever rows there are.
TEST_P(StepInputsTest, PaddingIsCutWithTheRows) {
  KvPool pool({KvGroupSpec{.num_layers = 1, .kv_heads = 1, .head_dim = 64, .query_heads = 2}}, {8}, device());
  SlotTable slots({.num_slots = 4, .max_blocks_per_slot = 4, .ring = 3, .track_counts = false, .vocab = {0, 10}}, pool,
                  device());
  StepInputsMemory memory({.max_tokens = 16, .max_rows = 8, .max_outputs = 8, .min_split_tokens = 8}, pool, device());
  StepInputs inputs(memory, device(), false);
  inputs.prepare(StepPlan(), slots, 8, stream());
  ASSERT_EQ(inputs.num_parts(), 2);
  for (int part : {0, 1}) {
    const AttentionBatch batch = inputs.batch(slots, part, 0);
    EXPECT_EQ(values(batch.row_begin), (Ids{0, 0, 0, 0, 0}));
    EXPECT_EQ(values(batch.token_slots), (Ids{-1, -1, -1, -1}));
  }
}

INSTANTIATE_BACKENDS(StepInputsTest);

}  // namespace
}  // namespace trireme::test
