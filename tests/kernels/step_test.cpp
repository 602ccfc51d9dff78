#include "kernels/step.h"

#include "tests/support/backend.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

using Ints = std::vector<int32_t>;
constexpr int32_t kPrompt = 0x8000;

class StepTest : public BackendTest {
 public:
  static constexpr int64_t kSlots = 4, kVocabulary = 6, kVocabBegin = 10;

  void SetUp() override {
    BackendTest::SetUp();
    if (IsSkipped()) return;
    length_ = to_device(Ints(kSlots, 0), stream());
    last_token_ = to_device(Ints(kSlots, 0), stream());
    counts_ = Tensor(DType::u16, {kSlots, kVocabulary}, device());
    const std::vector<uint16_t> rubbish(kSlots * kVocabulary, 0x7777);
    upload(counts_, rubbish.data(), stream());
    state_ = {length_, last_token_, counts_};
  }

  Tensor up(const Ints& values) { return to_device(values, stream()); }
  Tensor up(const Ints& values, int64_t columns) {
    return to_device(values, {int64_t(values.size()) / columns, columns}, stream());
  }
  Ints down(TensorView view) {
    Ints values;
    for (double value : to_host(view, stream())) values.push_back(int32_t(value));
    return values;
  }
  Ints counts_of(int64_t slot) { return down(counts_.view().slice(0, slot, slot + 1)); }

  // Slot 2: prompt 10 11 11, drawn 11 14 99.  Slot 0: prompt 15, counts not tracked.
  void open_two() {
    open_slots(state_, up({2, 0}), up({3, 1}), up({0, 6, 7}), up({10, 11, 11, 11, 14, 99, 15}), up({1, 0}), kVocabBegin,
               stream());
  }

 protected:
  Tensor length_, last_token_, counts_;
  SlotState state_;
};

TEST_P(StepTest, OpenSlotsSetsLengthLastTokenAndTrackedCounts) {
  open_two();
  EXPECT_EQ(down(length_), (Ints{1, 0, 6, 0}));
  EXPECT_EQ(down(last_token_), (Ints{15, 0, 99, 0}));
  EXPECT_EQ(counts_of(2), (Ints{kPrompt, kPrompt + 1, 0, 0, 1, 0}));
  EXPECT_EQ(counts_of(0), Ints(kVocabulary, 0x7777));
}

TEST_P(StepTest, CountsWithoutThePromptHoldDrawnIdsOnly) {
  open_slots(state_, up({2, 3}), up({3, 2}), up({0, 6, 8}), up({10, 11, 11, 11, 14, 99, 12, 13}), up({2, 2}),
             kVocabBegin, stream());
  EXPECT_EQ(down(length_), (Ints{0, 0, 6, 2}));
  EXPECT_EQ(counts_of(2), (Ints{0, 1, 0, 0, 1, 0}));
  EXPECT_EQ(counts_of(3), Ints(kVocabulary, 0)) << "nothing is drawn yet: zeroed";
  apply_draws(state_, up({2}), up({10}), kVocabBegin, stream());
  EXPECT_EQ(counts_of(2), (Ints{1, 1, 0, 0, 1, 0}));
}

TEST_P(StepTest, ForkSlotsCopiesInOrder) {
  open_two();
  fork_slots(state_, up({2, 1, 1, 3}, 2), stream());
  EXPECT_EQ(down(length_), (Ints{1, 6, 6, 6}));
  EXPECT_EQ(down(last_token_), (Ints{15, 99, 99, 99}));
  EXPECT_EQ(counts_of(3), counts_of(2));
}

TEST_P(StepTest, ApplyDrawsAppendsAndSkipsWhatWasNotDrawn) {
  open_two();
  apply_draws(state_, up({2, 0}), up({11, -1}), kVocabBegin, stream());
  apply_draws(state_, up({2}), up({16}), kVocabBegin, stream());  // another shard's id
  EXPECT_EQ(down(length_), (Ints{1, 0, 8, 0}));
  EXPECT_EQ(down(last_token_), (Ints{15, 0, 16, 0}));
  EXPECT_EQ(counts_of(2), (Ints{kPrompt, kPrompt + 2, 0, 0, 1, 0}));
}

TEST_P(StepTest, CountsSaturate) {
  const std::vector<uint16_t> full(kSlots * kVocabulary, 0x7fff);
  upload(counts_, full.data(), stream());
  apply_draws(state_, up({1}), up({12}), kVocabBegin, stream());
  EXPECT_EQ(counts_of(1), Ints(kVocabulary, 0x7fff));
}

TEST_P(StepTest, WorksWithoutCounts) {
  state_.counts = TensorView();
  open_two();
  fork_slots(state_, up({2, 1}, 2), stream());
  apply_draws(state_, up({1}), up({12}), kVocabBegin, stream());
  EXPECT_EQ(down(length_), (Ints{1, 7, 6, 0}));
}

TEST_P(StepTest, BlockTablesTakeUpdatesAndForks) {
  const Tensor table = up(Ints(12, -1), 4);
  update_block_table(table, up({0, 0, 7, 2, 3, 9, 0, 1, 5}, 3), stream());
  EXPECT_EQ(down(table), (Ints{7, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1, 9}));
  fork_block_table(table, up({0, 1, 2, 2, 0, 0}, 3), stream());
  EXPECT_EQ(down(table), (Ints{7, 5, -1, -1, 7, 5, -1, -1, -1, -1, -1, 9}));
}

TEST_P(StepTest, ResolveTokensTakesGivenOnesAndTheLastDrawn) {
  open_two();
  const Tensor ids(DType::i32, {4}, device()), positions(DType::i32, {4}, device());
  resolve_tokens(ids, positions, up({42, -1, 43, -1}), up({5, 77, 6, 0}), up({3, 2, 3, 0}), state_, stream());
  EXPECT_EQ(down(ids), (Ints{42, 99, 43, 15}));
  EXPECT_EQ(down(positions), (Ints{5, 5, 6, 0}));
}

// More draws than one thread block has threads: a slot's last token is that of its last draw.
TEST_P(StepTest, ManyDrawsForFewSlotsTakeEffectInOrder) {
  const int draws = 601;
  Ints slots, ids;
  for (int i = 0; i < draws; ++i) {
    slots.push_back(i % 3 == 2 && i < 300 ? 2 : i % 2);
    ids.push_back(i >= 590 && i % 2 == 1 ? -1 : 100 + i);
  }
  const Ints nothing(kSlots, 0);
  upload(length_, nothing.data(), stream());
  upload(last_token_, nothing.data(), stream());
  apply_draws(state_, up(slots), up(ids), kVocabBegin, stream());
  Ints length(kSlots, 0), last(kSlots, 0);
  for (int i = 0; i < draws; ++i)
    if (ids[size_t(i)] >= 0) ++length[size_t(slots[size_t(i)])], last[size_t(slots[size_t(i)])] = ids[size_t(i)];
  EXPECT_EQ(down(length_), length);
  EXPECT_EQ(down(last_token_), last);
}

TEST_P(StepTest, NothingToDoIsFine) {
  const Tensor none(DType::i32, {0}, device()), table = up(Ints(4, 1), 2);
  open_slots(state_, none, none, up({0}), none, none, 0, stream());
  fork_slots(state_, Tensor(DType::i32, {0, 2}, device()), stream());
  apply_draws(state_, none, none, 0, stream());
  update_block_table(table, Tensor(DType::i32, {0, 3}, device()), stream());
  fork_block_table(table, Tensor(DType::i32, {0, 3}, device()), stream());
  resolve_tokens(none, none, none, none, none, state_, stream());
  EXPECT_EQ(down(length_), Ints(kSlots, 0));
}

TEST_P(StepTest, WrongShapesThrow) {
  EXPECT_THROW(open_slots(state_, up({1}), up({1}), up({0}), up({1}), up({1}), 0, stream()), InternalError);
  EXPECT_THROW(fork_slots(state_, up({1, 2, 3}, 3), stream()), InternalError);
  EXPECT_THROW(apply_draws(state_, up({1, 2}), up({1}), 0, stream()), InternalError);
  EXPECT_THROW(update_block_table(up({1, 2}, 2), up({0, 0}, 2), stream()), InternalError);
  EXPECT_THROW(resolve_tokens(up({1}), up({1}), up({1}), up({1, 2}), up({1}), state_, stream()), InternalError);
}

INSTANTIATE_BACKENDS(StepTest);

}  // namespace
}  // namespace trireme::test
