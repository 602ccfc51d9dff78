#include "runtime/kv_sizing.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

KvGroupSpec group(int32_t window) { return {2, 1, 8, window, 16}; }

KvSizing sizing(const std::vector<int32_t>& windows, int32_t max_num_seqs) {
  KvSizing result;
  for (const int32_t window : windows) {
    result.groups.push_back(group(window));
    result.bytes.push_back(100);
  }
  result.max_model_len = 1600;  // 100 blocks
  result.max_num_seqs = max_num_seqs;
  result.max_chunk = 32;
  return result;
}

TEST(KvSizing, AWindowBoundsWhatASequenceHolds) {
  EXPECT_EQ(most_blocks(group(0), 1600, 32), 100);
  EXPECT_EQ(most_blocks(group(0), 1601, 32), 101);
  EXPECT_EQ(most_blocks(group(64), 1600, 32), 8);  // 64 + 32 tokens, and a partial block at either end
  EXPECT_EQ(most_blocks(group(64), 20, 32), 2);
}

TEST(KvSizing, AWindowedGroupGetsNoMoreThanAllSequencesCanHold) {
  EXPECT_EQ(blocks_by_group(sizing({0, 64}, 2), 50), (std::vector<int32_t>{50, 16}));
  EXPECT_EQ(blocks_by_group(sizing({0, 64}, 20), 50), (std::vector<int32_t>{50, 50}));
}

TEST(KvSizing, FillsTheBudget) {
  EXPECT_EQ(affordable_blocks(sizing({0}, 2), 5050), 50);
  EXPECT_EQ(affordable_blocks(sizing({0}, 2), 1000000), 200);  // more than two sequences can use is not taken
  EXPECT_EQ(affordable_blocks(sizing({0, 64}, 2), 5000), 34);  // 34 + 16
  EXPECT_EQ(affordable_blocks(sizing({0, 64}, 20), 5000), 25);
  EXPECT_EQ(affordable_blocks(sizing({64}, 2), 1000000), 16);
  EXPECT_EQ(affordable_blocks(sizing({0}, 2), -5), 0);
}

TEST(KvSizing, SaysTheLongestSequence) {
  EXPECT_EQ(longest_sequence(sizing({0, 64}, 2), {34, 16}), 34 * 16);
  EXPECT_EQ(longest_sequence(sizing({0, 64}, 2), {200, 16}), 1600);
  EXPECT_EQ(longest_sequence(sizing({64}, 2), {8}), 1600);
  EXPECT_EQ(longest_sequence(sizing({64}, 2), {7}), 7 * 16);
}

}  // namespace
}  // namespace trireme
