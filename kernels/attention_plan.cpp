#include "kernels/attention_plan.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/check.h"

namespace trireme {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Tile {
  const AttentionPlanRow& row;
  int32_t first_packed, packed_end;
  int32_t key_begin, key_end;
  int32_t granule;
  int32_t base() const { return key_begin == 0 ? 0 : key_begin / granule * granule; }  // where the first piece would begin
  int32_t keys() const { return key_end - base(); }
};

// Of one class: how tiles are cut and what they cost. A piece's cost is counted in keys.
struct Class {
  int32_t tile_rows;
  bool decode;
  int32_t max_splits = 1;
  int32_t min_keys = 0;     // of a piece
  int64_t piece_cost = 0;   // a block's start and end
  int64_t split_cost = 0;   // a partial written and read again
  int64_t full_share = 0;   // in percent of the blocks that run at a time: so many keep the GPU busy
  int64_t extra_items = 0;  // splits may add that many items
  int32_t granule = kSplitGranule;
  bool grouped = false;  // splits lie in groups, cut by cut_group
  int64_t running = kAttentionBlocksPerProcessor;  // blocks of a processor
};

int64_t packed_rows(const AttentionPlanRow& row, const AttentionPlanOptions& options) {
  return int64_t(row.count) * options.group;
}

template <typename Visit>
void for_each_tile(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options, const Class& kind,
                   Visit&& visit) {
  for (const AttentionPlanRow& row : rows) {
    const int64_t packed = packed_rows(row, options);
    if (packed == 0 || (packed <= kDecodeTileRows) != kind.decode) continue;
    for (int64_t first = 0; first < packed; first += kind.tile_rows) {
      const int64_t end = std::min<int64_t>(first + kind.tile_rows, packed);
      const int64_t first_position = row.start + first / options.group;
      const int64_t key_begin = options.window > 0 ? std::max<int64_t>(0, first_position - options.window + 1) : 0;
      visit(Tile{row, int32_t(first), int32_t(end), int32_t(key_begin),
                 int32_t(row.start + (end - 1) / options.group + 1), kind.granule});
    }
  }
}

// The pieces of a tile where none should be longer than `longest` keys and none shorter than kind.min_keys: equal
// ones, but for the granule. Every row of every step comes by several times: few divisions, of 32 bits.
struct Pieces {
  int32_t keys, count;
};

uint32_t ceil_div_32(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

Pieces cut(const Tile& tile, int64_t longest, const Class& kind) {
  const auto keys = uint32_t(tile.keys()), granule = uint32_t(kind.granule), least = uint32_t(kind.min_keys);
  if (keys <= longest || keys < 2 * least) return {int32_t(ceil_div_32(keys, granule) * granule), 1};
  const uint32_t most = std::min(keys / least, uint32_t(kind.max_splits));
  const uint32_t wanted = std::min(ceil_div_32(keys, uint32_t(longest)), most);
  const uint32_t piece = ceil_div_32(ceil_div_32(keys, wanted), granule) * granule;
  return {int32_t(piece), int32_t(ceil_div_32(keys, piece))};
}

struct Load {
  int64_t tiles = 0, items = 0, keys = 0, cost = 0;
  int64_t longest = 0, shortest = std::numeric_limits<int64_t>::max();  // cost of a piece
};

Load load_of(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options, const Class& kind,
             int64_t longest) {
  Load load;
  for_each_tile(rows, options, kind, [&](const Tile& tile) {
    const Pieces pieces = cut(tile, longest, kind);
    const int64_t overhead = kind.piece_cost + (pieces.count > 1 ? kind.split_cost : 0);
    const int64_t piece = std::min(pieces.keys, tile.keys()) + overhead;
    ++load.tiles;
    load.items += pieces.count;
    load.keys += tile.keys();
    load.cost += tile.keys() + pieces.count * overhead;
    load.longest = std::max(load.longest, piece);
    load.shortest = std::min(load.shortest, piece);
  });
  return load;
}

// When the last block ends, in keys of a block's fair share times 100 x `running` blocks: all of the work, plus what
// the last wave leaves idle where it has too few blocks to keep the GPU busy.
int64_t estimate(const Load& load, const AttentionPlanOptions& options, const Class& kind) {
  const int64_t running = kind.running * options.num_processors;
  const int64_t blocks = load.items * options.kv_heads, last_wave = blocks % running;
  const int64_t idle = last_wave == 0 ? 0 : std::max<int64_t>(0, kind.full_share * running - 100 * last_wave);
  return std::max(100 * load.cost * options.kv_heads + idle * load.shortest,
                  kind.full_share * running * load.longest);
}

// The length no piece may exceed, for the earliest estimated end.
int64_t choose_longest(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options, const Class& kind) {
  constexpr int64_t kWhole = std::numeric_limits<int32_t>::max();
  constexpr std::array<int64_t, 9> kWaves = {15, 16, 20, 24, 28, 32, 40, 48, 64};  // sixteenths
  const Load whole = load_of(rows, options, kind, kWhole);
  const int64_t running = kind.running * options.num_processors;
  if (whole.longest < 2 * kind.min_keys + kind.piece_cost || kind.extra_items == 0) return kWhole;
  if (!kind.decode && whole.cost * options.kv_heads >= 3 * running * whole.longest) return kWhole;

  int64_t best = kWhole, best_estimate = estimate(whole, options, kind), previous = kWhole;
  for (const int64_t sixteenths : kWaves) {
    if (sixteenths < 16 && kind.running > 1) continue;  // for tiles that one wave just holds, cut alike
    const int64_t keys = ceil_div(16 * whole.keys * options.kv_heads, running * sixteenths);
    const int64_t longest = std::max<int64_t>(kind.min_keys, ceil_div(keys, kind.granule) * kind.granule);
    if (longest == previous || longest >= whole.longest) continue;
    previous = longest;
    const Load load = load_of(rows, options, kind, longest);
    if (load.items > load.tiles + kind.extra_items) break;
    const int64_t end = estimate(load, options, kind);
    if (end < best_estimate) best = longest, best_estimate = end;
  }
  return best;
}

// Row by row, so that a row's keys and values stay in the GPU's cache from one tile to the next: the longest context
// first, and of a row its last tile. Of whole tiles.
int32_t order_by_row(std::span<AttentionWorkItem> items) {
  for (size_t begin = 0, end = 0; begin < items.size(); begin = end) {  // as written: row by row, tiles ascending
    while (end < items.size() && items[end].first_token == items[begin].first_token) ++end;
    for (size_t i = begin; i < end; ++i) items[i].partial = items[end - 1].key_end;  // lent: the row's context
  }
  std::sort(items.begin(), items.end(), [](const AttentionWorkItem& a, const AttentionWorkItem& b) {
    if (a.partial != b.partial) return a.partial > b.partial;
    return a.first_token != b.first_token ? a.first_token < b.first_token : a.first_packed > b.first_packed;
  });
  for (AttentionWorkItem& item : items) item.partial = -1;
  return int32_t(items.size());
}

// The pieces of a tile whose splits are a group.
Pieces cut_group(const Tile& tile) {
  const int64_t even = ceil_div(ceil_div(tile.keys(), kDecodeGroup), kGroupedSplitGranule) * kGroupedSplitGranule;
  const auto keys = int32_t(std::max<int64_t>(kMinGroupedSplitKeys, even));
  return {keys, int32_t(ceil_div(tile.keys(), keys))};
}

void write_tile(const Tile& tile, const Pieces& pieces, int32_t partial, int32_t flags,
                std::span<AttentionWorkItem> items) {
  CHECK_LE(size_t(pieces.count), items.size()) << "attention work list";
  for (int32_t split = 0; split < pieces.count; ++split) {
    const bool first = split == 0, last = split + 1 == pieces.count;
    items[size_t(split)] = {.first_token = tile.row.first_token,
                            .first_packed = tile.first_packed,
                            .packed_end = tile.packed_end,
                            .slot = tile.row.slot,
                            .key_begin = first ? tile.key_begin : tile.base() + split * pieces.keys,
                            .key_end = last ? tile.key_end : tile.base() + (split + 1) * pieces.keys,
                            .partial = pieces.count > 1 ? partial : -1,
                            .splits = (pieces.count | flags) << 16 | split};
  }
}

int32_t write_groups(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options, const Class& kind,
                     std::span<AttentionWorkItem> items) {
  size_t count = 0, group = 0;
  for_each_tile(rows, options, kind, [&](const Tile& tile) {
    CHECK_LE(group, items.size()) << "attention work list";
    for (; count < group; ++count) items[count] = {};
    const Pieces pieces = cut_group(tile);
    write_tile(tile, pieces, int32_t(group), kGroupedSplits, items.subspan(group));
    count = group + size_t(pieces.count), group += kDecodeGroup;
  });
  return int32_t(count);
}

int32_t write_items(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options, const Class& kind,
                    std::span<AttentionWorkItem> items) {
  if (kind.grouped) return write_groups(rows, options, kind, items);
  const int64_t longest = choose_longest(rows, options, kind);
  size_t count = 0;
  int32_t partials = 0;
  for_each_tile(rows, options, kind, [&](const Tile& tile) {
    const Pieces pieces = cut(tile, longest, kind);
    write_tile(tile, pieces, partials, 0, items.subspan(count));
    count += size_t(pieces.count);
    if (pieces.count > 1) partials += pieces.count;
  });
  CHECK_LE(int64_t(partials) * options.kv_heads * kind.tile_rows,
           int64_t(kPartialRowsPerProcessor) * options.num_processors)
      << "attention partials";
  if (!kind.decode && partials == 0) return order_by_row(items.first(count));
  const auto before = [](const AttentionWorkItem& a, const AttentionWorkItem& b) {
    const int32_t a_keys = a.key_end - a.key_begin, b_keys = b.key_end - b.key_begin;
    if (a_keys != b_keys) return a_keys > b_keys;
    if (a.first_token != b.first_token) return a.first_token < b.first_token;
    return a.first_packed != b.first_packed ? a.first_packed < b.first_packed : a.splits < b.splits;
  };
  const auto written = items.first(count);
  if (!std::is_sorted(written.begin(), written.end(), before)) std::sort(written.begin(), written.end(), before);
  return int32_t(count);
}

// Every split tile of n pieces adds n - 1 >= n / 2 items: partials are at most twice the extra items.
int64_t most_extra_items(int32_t tile_rows, const AttentionPlanOptions& options) {
  return int64_t(kPartialRowsPerProcessor) / 2 / tile_rows * options.num_processors / options.kv_heads;
}

// Few rows are cut finely enough for two waves; more only where there are tiles to even out.
int64_t extra_decode_items(int64_t tiles, const AttentionPlanOptions& options) {
  const int64_t two_waves = 2 * int64_t(kAttentionBlocksPerProcessor) * options.num_processors / options.kv_heads;
  return std::min(std::max(two_waves, tiles), most_extra_items(kDecodeTileRows, options));
}

// Longer contexts want more blocks than a group has.
bool contexts_fit_groups(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options,
                         const Class& kind) {
  bool fit = true;
  for_each_tile(rows, options, kind, [&](const Tile& tile) {
    fit = fit && tile.keys() <= kDecodeGroup * kMaxGroupedSplitKeys;
  });
  return fit;
}

Class decode_class(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options) {
  const auto tiles = std::count_if(rows.begin(), rows.end(), [&](const AttentionPlanRow& row) {
    return row.count > 0 && packed_rows(row, options) <= kDecodeTileRows;
  });
  Class grouped{.tile_rows = kDecodeTileRows, .decode = true, .granule = kGroupedSplitGranule, .grouped = true};
  if (decode_tiles_are_grouped(tiles, options) && contexts_fit_groups(rows, options, grouped)) return grouped;
  return {.tile_rows = kDecodeTileRows,
          .decode = true,
          .max_splits = kMaxDecodeSplits,
          .min_keys = kMinDecodeSplitKeys,
          .piece_cost = 64,
          .split_cost = 32,
          .full_share = 67,  // memory bound: a block with fewer neighbours goes faster
          .extra_items = extra_decode_items(tiles, options),
          .running = decode_blocks_per_processor(tiles, options)};
}

Class warpgroup_class(const AttentionPlanOptions& options) {
  return {.tile_rows = kLargePrefillTileRows,
          .decode = false,
          .max_splits = kMaxPrefillSplits,
          .min_keys = kMinPrefillSplitKeys,
          .piece_cost = 128,
          .split_cost = 128,
          .full_share = 100,
          .extra_items = most_extra_items(kLargePrefillTileRows, options),
          .granule = kWarpgroupSplitGranule,
          .running = 1};
}

Class prefill_class(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options) {
  int64_t small_tiles = 0, large_tiles = 0;
  for (const AttentionPlanRow& row : rows)
    if (row.count > 1 && packed_rows(row, options) > kDecodeTileRows) {  // a graph of one-token rows keeps its tile size
      small_tiles += ceil_div(packed_rows(row, options), kPrefillTileRows);
      large_tiles += ceil_div(packed_rows(row, options), kLargePrefillTileRows);
    }
  if (options.warpgroup_tiles && large_tiles > 0 && 4 * large_tiles <= 3 * small_tiles) return warpgroup_class(options);
  const bool many = large_tiles * options.kv_heads >= int64_t(kAttentionBlocksPerProcessor) * options.num_processors;
  const bool large = many && options.head_dim <= 128 && !options.warpgroup_tiles;
  const int32_t tile_rows = large ? kLargePrefillTileRows : kPrefillTileRows;
  return {.tile_rows = tile_rows,
          .decode = false,
          .max_splits = kMaxPrefillSplits,
          .min_keys = kMinPrefillSplitKeys,
          .piece_cost = 64,
          .split_cost = 64,
          .full_share = 100,
          .extra_items = many ? 0 : most_extra_items(kPrefillTileRows, options)};
}

void check_options(const AttentionPlanOptions& options) {
  CHECK(options.group > 0 && options.kv_heads > 0 && options.num_processors > 0)
      << "attention plan: group" << options.group << "KV heads" << options.kv_heads << "processors"
      << options.num_processors;
}

}  // namespace

int32_t decode_blocks_per_processor(int64_t rows, const AttentionPlanOptions& options) {
  const int64_t running = int64_t(kManyDecodeBlocks) * options.num_processors;
  const bool many = 8 * rows * options.kv_heads >= 7 * running;
  return many && options.head_dim <= kMaxManyBlocksHeadDim ? kManyDecodeBlocks : kAttentionBlocksPerProcessor;
}

bool decode_tiles_are_grouped(int64_t rows, const AttentionPlanOptions& options) {
  return options.head_dim <= kMaxManyBlocksHeadDim &&
         rows * kDecodeGroup * options.kv_heads <= int64_t(kAttentionBlocksPerProcessor) * options.num_processors;
}

AttentionWorkCapacity attention_work_capacity(int64_t max_tokens, int64_t max_rows,
                                              const AttentionPlanOptions& options) {
  check_options(options);
  const int64_t rows = std::min(max_tokens, max_rows);
  const int64_t prefill_tiles = max_tokens * options.group / kPrefillTileRows + rows;
  return {.decode = rows + extra_decode_items(rows, options),
          .prefill = prefill_tiles + most_extra_items(kPrefillTileRows, options)};
}

AttentionPlan plan_attention(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options,
                             std::span<AttentionWorkItem> decode, std::span<AttentionWorkItem> prefill) {
  check_options(options);
  const Class large = prefill_class(rows, options);
  return {.decode_items = write_items(rows, options, decode_class(rows, options), decode),
          .prefill_items = write_items(rows, options, large, prefill),
          .prefill_tile_rows = large.tile_rows};
}

}  // namespace trireme
