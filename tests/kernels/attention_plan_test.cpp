#include "kernels/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <queue>
#include <random>
#include <set>
#include <tuple>
#include <vector>

namespace trireme {
namespace {

constexpr int32_t kProcessors = 132;

struct Work {
  AttentionPlan plan;
  std::vector<AttentionWorkItem> decode, prefill;
};

Work plan(const std::vector<AttentionPlanRow>& rows, const AttentionPlanOptions& options) {
  int64_t tokens = 0;
  for (const AttentionPlanRow& row : rows) tokens += row.count;
  const AttentionWorkCapacity most = attention_work_capacity(tokens, int64_t(rows.size()), options);
  Work work;
  work.decode.resize(size_t(most.decode)), work.prefill.resize(size_t(most.prefill));
  work.plan = plan_attention(rows, options, work.decode, work.prefill);
  work.decode.resize(size_t(work.plan.decode_items)), work.prefill.resize(size_t(work.plan.prefill_items));
  return work;
}

std::vector<AttentionPlanRow> rows_of(int count, int32_t tokens, int32_t context) {
  std::vector<AttentionPlanRow> rows;
  for (int32_t r = 0; r < count; ++r) rows.push_back({r * tokens, tokens, context - tokens, r});
  return rows;
}

bool is_grouped(const AttentionWorkItem& item) { return (item.splits >> 16 & kGroupedSplits) != 0; }

int32_t keys_of(const AttentionWorkItem& item) { return item.key_end - item.key_begin; }

// Every (packed row, key it sees) lies in exactly one item of its row, items of a tile agree with one another, and
// partials overlap nowhere.
void check_cover(const std::vector<AttentionPlanRow>& rows, const AttentionPlanOptions& options,
                 const std::vector<AttentionWorkItem>& items, int32_t tile_rows, int64_t processors) {
  std::map<std::pair<int32_t, int32_t>, std::vector<AttentionWorkItem>> tiles;  // (first token, first packed row)
  const bool by_row = tile_rows != kDecodeTileRows &&
                      std::ranges::all_of(items, [](const AttentionWorkItem& item) { return item.partial < 0; });
  const bool grouped = std::ranges::any_of(items, is_grouped);
  for (size_t i = 0; i < items.size(); ++i) {
    if (grouped && items[i].first_packed == items[i].packed_end) continue;  // spare
    tiles[{items[i].first_token, items[i].first_packed}].push_back(items[i]);
    if (grouped) {
      ASSERT_TRUE(is_grouped(items[i]));
      ASSERT_EQ((items[i].splits & 0xffff), int32_t(i % kDecodeGroup)) << "splits of a tile in a row";
    }
    if (i == 0 || grouped) continue;
    const AttentionWorkItem &before = items[i - 1], &item = items[i];
    if (!by_row) {
      ASSERT_GE(keys_of(before), keys_of(item)) << "longest first";
    } else if (before.first_token == item.first_token) {
      ASSERT_GT(before.first_packed, item.first_packed) << "a row's last tile first";
    }
  }
  std::set<int32_t> partials;
  std::map<int32_t, int64_t> packed_seen;
  for (auto& [key, tile] : tiles) {
    const auto row = std::find_if(rows.begin(), rows.end(), [first = key.first](const AttentionPlanRow& candidate) {
      return candidate.first_token == first && candidate.count > 0;
    });
    ASSERT_NE(row, rows.end());
    std::sort(tile.begin(), tile.end(), [](const auto& a, const auto& b) { return a.splits < b.splits; });
    const AttentionWorkItem& front = tile.front();
    ASSERT_GT(front.packed_end, front.first_packed);
    ASSERT_LE(front.packed_end - front.first_packed, tile_rows);
    packed_seen[key.first] += front.packed_end - front.first_packed;
    const int32_t first = row->start + front.first_packed / options.group;
    const int32_t last = row->start + (front.packed_end - 1) / options.group;
    EXPECT_EQ(front.key_begin, options.window > 0 ? std::max(0, first - options.window + 1) : 0);
    EXPECT_EQ(tile.back().key_end, last + 1);
    int32_t at = front.key_begin, longest = 0, shortest = INT32_MAX;
    for (size_t s = 0; s < tile.size(); ++s) {
      EXPECT_EQ(tile[s].splits, (int32_t(tile.size()) | (grouped ? kGroupedSplits : 0)) << 16 | int32_t(s));
      EXPECT_EQ(tile[s].key_begin, at);
      EXPECT_GT(tile[s].key_end, at);
      EXPECT_EQ(tile[s].packed_end, front.packed_end);
      EXPECT_EQ(tile[s].slot, row->slot);
      EXPECT_EQ(tile[s].partial, front.partial);
      if (s > 0) {
        EXPECT_EQ(at % (grouped ? kGroupedSplitGranule : kSplitGranule), 0);
      }
      if (s > 0 && s + 1 < tile.size()) {
        longest = std::max(longest, keys_of(tile[s])), shortest = std::min(shortest, keys_of(tile[s]));
      }
      at = tile[s].key_end;
    }
    if (longest > 0) {
      EXPECT_EQ(longest, shortest) << "equal pieces";
      EXPECT_GE(shortest, grouped                        ? kMinGroupedSplitKeys
                          : tile_rows == kDecodeTileRows ? kMinDecodeSplitKeys
                                                         : kMinPrefillSplitKeys);
    }
    if (tile.size() == 1) {
      EXPECT_EQ(front.partial, -1);
    } else {
      for (size_t s = 0; s < tile.size(); ++s) EXPECT_TRUE(partials.insert(front.partial + int32_t(s)).second);
    }
  }
  for (const auto& [token, packed] : packed_seen)
    for (const AttentionPlanRow& row : rows)
      if (row.first_token == token && row.count > 0) {
        EXPECT_EQ(packed, int64_t(row.count) * options.group);
      }
  if (!partials.empty()) {
    EXPECT_GE(*partials.begin(), 0);
    EXPECT_LE(int64_t(*partials.rbegin() + 1) * options.kv_heads * tile_rows, kPartialRowsPerProcessor * processors);
  }
}

void check(const std::vector<AttentionPlanRow>& rows, const AttentionPlanOptions& options) {
  const Work work = plan(rows, options);
  check_cover(rows, options, work.decode, kDecodeTileRows, options.num_processors);
  check_cover(rows, options, work.prefill, work.plan.prefill_tile_rows, options.num_processors);
  std::set<int32_t> covered, expected;
  for (const auto& item : work.decode)
    if (item.packed_end > item.first_packed) covered.insert(item.first_token);
  for (const auto& item : work.prefill) EXPECT_FALSE(covered.count(item.first_token)) << "in one class only";
  for (const auto& item : work.prefill) covered.insert(item.first_token);
  for (const AttentionPlanRow& row : rows)
    if (row.count > 0) expected.insert(row.first_token);
  EXPECT_EQ(covered, expected);
}

// Items go to the first of the blocks that run at a time to be free; the share of the time they are all busy.
double balance(const std::vector<AttentionWorkItem>& items, const AttentionPlanOptions& options) {
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> blocks;
  for (int32_t b = 0; b < kAttentionBlocksPerProcessor * options.num_processors; ++b) blocks.push(0);
  int64_t total = 0, end = 0;
  for (const AttentionWorkItem& item : items)
    for (int32_t h = 0; h < options.kv_heads; ++h) {
      const int64_t done = blocks.top() + keys_of(item);
      blocks.pop();
      blocks.push(done);
      total += keys_of(item), end = std::max(end, done);
    }
  return double(total) / double(end) / double(kAttentionBlocksPerProcessor * options.num_processors);
}

AttentionPlanOptions llama(int32_t kv_heads = 8, int32_t window = 0) {
  return {.group = 4, .kv_heads = kv_heads, .head_dim = 128, .window = window, .num_processors = kProcessors};
}

TEST(AttentionPlan, LongContextsFillTheProcessorsEvenly) {
  EXPECT_GT(balance(plan(rows_of(32, 1, 16384), llama()).decode, llama()), 0.93);
  EXPECT_GT(balance(plan(rows_of(1, 1, 16384), llama()).decode, llama()), 0.93);
  EXPECT_GT(balance(plan(rows_of(1, 1, 131072), llama(1)).decode, llama(1)), 0.93);
  EXPECT_GT(balance(plan(rows_of(20, 1, 4096), llama()).decode, llama()), 0.85);
}

TEST(AttentionPlan, OneRowUsesEveryProcessor) {
  const Work work = plan(rows_of(1, 1, 16384), llama());
  EXPECT_GE(work.decode.size() * 8, size_t(kProcessors));
  EXPECT_LE(work.decode.size() * 8, size_t(4 * kProcessors));
}

TEST(AttentionPlan, ManyShortRowsStayWhole) {
  EXPECT_EQ(plan(rows_of(256, 1, 512), llama()).decode.size(), 256u);
  EXPECT_EQ(plan(rows_of(32, 1, 512), llama()).decode.size(), 32u);
  EXPECT_EQ(plan(rows_of(1, 1, 64), llama()).decode.size(), 1u);
}

TEST(AttentionPlan, FewRowsOfModerateContextsAreGrouped) {
  for (const auto& [rows, kv_heads] : {std::pair{1, 8}, {4, 8}, {16, 2}, {1, 1}}) {
    const Work work = plan(rows_of(rows, 1, 513), llama(kv_heads));
    ASSERT_EQ(work.decode.size(), size_t(kDecodeGroup * (rows - 1) + 7));
    for (const AttentionWorkItem& item : work.decode) EXPECT_TRUE(is_grouped(item) || item.packed_end == 0);
    check(rows_of(rows, 1, 513), llama(kv_heads));
  }
  for (const auto& [rows, kv_heads, context] :
       {std::tuple{5, 8, 513}, {17, 2, 513}, {1, 8, kDecodeGroup * kMaxGroupedSplitKeys + 1}})
    for (const AttentionWorkItem& item : plan(rows_of(rows, 1, context), llama(kv_heads)).decode)
      EXPECT_FALSE(is_grouped(item));
}

TEST(AttentionPlan, ManyRowsRunMoreBlocksAtATime) {
  EXPECT_EQ(decode_blocks_per_processor(32, llama()), kAttentionBlocksPerProcessor);
  EXPECT_EQ(decode_blocks_per_processor(66, llama()), kManyDecodeBlocks);
  AttentionPlanOptions wide = llama();
  wide.head_dim = 256;
  EXPECT_EQ(decode_blocks_per_processor(66, wide), kAttentionBlocksPerProcessor);
}

TEST(AttentionPlan, OneLongRowAmongShortOnesIsCut) {
  std::vector<AttentionPlanRow> rows = rows_of(100, 1, 512);
  rows.push_back({100, 1, 65535, 100});
  const Work work = plan(rows, llama());
  EXPECT_GT(work.decode.size(), 110u);
  EXPECT_GT(balance(work.decode, llama()), 0.8);
}

TEST(AttentionPlan, WindowsLeaveOutWhatNobodySees) {
  const Work work = plan(rows_of(2, 1, 10000), llama(8, 1000));
  for (const AttentionWorkItem& item : work.decode) EXPECT_GE(item.key_begin, 9000);
}

TEST(AttentionPlan, ClassesByPackedRows) {
  const Work work = plan({{0, 4, 60, 3}, {4, 5, 100, 4}, {9, 0, 7, 5}, {9, 300, 0, 6}}, llama());
  ASSERT_EQ(work.decode.size(), 1u);
  EXPECT_EQ(work.decode[0].slot, 3);
  EXPECT_EQ(work.decode[0].packed_end, 16);
  EXPECT_EQ(work.prefill.size(), 1u + (1200 + 63) / 64);
  EXPECT_EQ(work.plan.prefill_tile_rows, kPrefillTileRows);
  EXPECT_EQ(plan(rows_of(16, 2048, 2048), llama()).plan.prefill_tile_rows, kLargePrefillTileRows);
  AttentionPlanOptions wide = llama();
  wide.head_dim = 256;
  EXPECT_EQ(plan(rows_of(16, 2048, 2048), wide).plan.prefill_tile_rows, kPrefillTileRows);
}

TEST(AttentionPlan, RowsOfOneTokenAreOfOneClassAndTileSize) {
  AttentionPlanOptions options = llama();
  for (int32_t group : {1, 16, 17, 71}) {
    options.group = group;
    for (int rows : {1, 20, 500}) {
      const Work work = plan(rows_of(rows, 1, 3000), options);
      EXPECT_EQ(work.decode.empty(), group > kDecodeTileRows);
      EXPECT_EQ(work.prefill.empty(), group <= kDecodeTileRows);
      EXPECT_EQ(work.plan.prefill_tile_rows, kPrefillTileRows);
      options.warpgroup_tiles = !options.warpgroup_tiles;
    }
  }
}

TEST(AttentionPlan, WarpgroupTilesWhereMostOfTheirRowsExist) {
  AttentionPlanOptions options = llama();
  options.warpgroup_tiles = true;
  EXPECT_EQ(plan(rows_of(1, 512, 512), options).plan.prefill_tile_rows, kLargePrefillTileRows);
  EXPECT_EQ(plan(rows_of(1, 24, 512), options).plan.prefill_tile_rows, kLargePrefillTileRows);
  EXPECT_EQ(plan(rows_of(200, 8, 512), options).plan.prefill_tile_rows, kPrefillTileRows);
}

TEST(AttentionPlan, FewWarpgroupTilesAreCutForAllProcessors) {
  AttentionPlanOptions options = llama(2);
  options.warpgroup_tiles = true;
  const Work work = plan(rows_of(1, 512, 32768), options);  // 32 tiles of all KV heads for 132 processors
  EXPECT_GE(2 * work.prefill.size(), size_t(kProcessors) * 9 / 10);
  EXPECT_LE(2 * work.prefill.size(), size_t(kProcessors) * 2);
  for (const AttentionWorkItem& item : work.prefill) EXPECT_EQ(item.key_begin % kWarpgroupSplitGranule, 0);
}

TEST(AttentionPlan, NothingToDo) {
  const Work work = plan({}, llama());
  EXPECT_EQ(work.plan.decode_items, 0);
  EXPECT_EQ(work.plan.prefill_items, 0);
}

TEST(AttentionPlan, EveryKeyOfEveryRowExactlyOnce) {
  std::mt19937 random(5);
  const auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  for (int round = 0; round < 1500; ++round) {
    AttentionPlanOptions options{.group = pick(1, 20),
                                 .kv_heads = pick(0, 3) == 0 ? pick(1, 64) : pick(1, 8),
                                 .head_dim = pick(0, 3) == 0 ? 256 : 128,
                                 .window = pick(0, 2) == 0 ? pick(1, 3000) : 0,
                                 .num_processors = pick(0, 1) == 0 ? kProcessors : pick(1, 200),
                                 .warpgroup_tiles = pick(0, 1) == 0};
    std::vector<AttentionPlanRow> rows;
    int32_t token = 0;
    const int32_t longest = 1 << pick(0, 17);
    for (int32_t r = 0, count = pick(0, 40); r < count; ++r) {
      const int32_t tokens = pick(0, 4) == 0 ? pick(0, 600) : pick(0, 3);
      rows.push_back({token, tokens, pick(0, longest), pick(0, 1000)});
      token += tokens;
    }
    check(rows, options);
    if (HasFailure()) FAIL() << "round " << round;
  }
}

TEST(AttentionPlan, CapacityGrowsWithTheBatch) {
  AttentionWorkCapacity before = attention_work_capacity(1, 1, llama());
  for (int64_t rows = 2; rows < 600; ++rows) {
    const AttentionWorkCapacity most = attention_work_capacity(rows, rows, llama());
    EXPECT_GE(most.decode, before.decode);
    EXPECT_GE(most.prefill, before.prefill);
    before = most;
  }
}

TEST(AttentionPlan, TheSameRowsGiveTheSameList) {
  const auto rows = rows_of(17, 1, 5000);
  const Work a = plan(rows, llama()), b = plan(rows, llama());
  ASSERT_EQ(a.decode.size(), b.decode.size());
  EXPECT_EQ(std::memcmp(a.decode.data(), b.decode.data(), a.decode.size() * sizeof(AttentionWorkItem)), 0);
}

}  // namespace
}  // namespace trireme
