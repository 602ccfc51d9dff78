#pragma once
// The work list of paged attention on CUDA: which tiles of query rows there are and into how many pieces each one's
// context is cut, decided on the host from lengths it knows. Pure: the same rows and options give the same list.
//
// The query heads of one KV head (its group) are packed: packed row p of a batch row is its token p / group and query
// head p % group of the group. A tile is a run of packed rows of one batch row; an item is a tile and a range of
// keys, worked on by one thread block per KV head. Two classes of tiles: decode (a whole row of at most
// kDecodeTileRows packed rows) and prefill (everything else). So rows of one token are all of one class, by the group
// size, and where there are no others prefill tiles are always of kPrefillTileRows.
//
// Where there are few decode tiles of moderate contexts their splits are grouped: a tile has up to kDecodeGroup of
// them, in a row from a multiple of kDecodeGroup on, behind spare items (packed_end == first_packed) where the tile
// before has fewer. So a cluster of blocks can add them up without a way through global memory.
//
// Prefill tiles of kLargePrefillTileRows are for the kernel of Hopper GPUs where options.warpgroup_tiles says so: one
// block per processor that stays, so that they pay as soon as most of their rows exist.

#include <cstdint>
#include <span>

namespace trireme {

inline constexpr int kDecodeTileRows = 16;
inline constexpr int kPrefillTileRows = 64;         // where there are few tiles, or heads wider than 128
inline constexpr int kLargePrefillTileRows = 128;
inline constexpr int kAttentionBlocksPerProcessor = 2;   // that run at a time
inline constexpr int kManyDecodeBlocks = 4;              // the same of decode tiles, where there are many
inline constexpr int kMaxManyBlocksHeadDim = 128;        // wider heads leave no room for them
inline constexpr int kMinDecodeSplitKeys = 128;          // shorter pieces spend their time starting up
inline constexpr int kMinPrefillSplitKeys = 256;
inline constexpr int kDecodeGroup = 8;                   // items: blocks of a cluster
inline constexpr int kMinGroupedSplitKeys = 64, kMaxGroupedSplitKeys = 256;
inline constexpr int kGroupedSplitGranule = 16;
inline constexpr int kGroupedSplits = 1 << 14;           // a bit above every number of splits
inline constexpr int kSplitGranule = 64;                 // pieces begin at multiples of it,
inline constexpr int kWarpgroupSplitGranule = 128;       // those of warpgroup tiles of this
inline constexpr int kMaxDecodeSplits = 512;             // of one tile
inline constexpr int kMaxPrefillSplits = 64;
inline constexpr int kPartialRowsPerProcessor = 256;     // packed rows times splits times KV heads of one launch

// Kernels read this from device memory.
struct AttentionWorkItem {
  int32_t first_token;               // of the batch row
  int32_t first_packed, packed_end;  // the tile, within the batch row
  int32_t slot;
  int32_t key_begin, key_end;  // positions, of which the kernel drops those the device knows not to exist
  int32_t partial;             // of the tile's first split: split s writes partial + s; -1 with one split
  int32_t splits;              // ((number of splits | kGroupedSplits where they are grouped) << 16) | this split
};
inline constexpr int kAttentionWorkStride = 8;  // int32 per item
static_assert(sizeof(AttentionWorkItem) == kAttentionWorkStride * sizeof(int32_t));

struct AttentionPlanRow {
  int32_t first_token = 0, count = 0;
  int32_t start = 0;  // position of the first token, or more than that
  int32_t slot = 0;
};

struct AttentionPlanOptions {
  int32_t group = 1;           // query heads per KV head
  int32_t kv_heads = 1;        // of this rank
  int32_t head_dim = 128;
  int32_t window = 0;          // 0: none
  int32_t num_processors = 1;  // attention_processors(device)
  bool warpgroup_tiles = false;  // attention_has_warpgroup_tiles(device, head_dim, block size)
};

// Blocks of decode tiles that run on a processor at a time: more where whole rows fill nearly all of them.
int32_t decode_blocks_per_processor(int64_t rows, const AttentionPlanOptions& options);

// Whether the splits of so many rows' decode tiles are grouped, unless a context is too long for it.
bool decode_tiles_are_grouped(int64_t rows, const AttentionPlanOptions& options);

struct AttentionPlan {
  int32_t decode_items = 0, prefill_items = 0;
  int32_t prefill_tile_rows = kPrefillTileRows;
};

struct AttentionWorkCapacity {
  int64_t decode = 0, prefill = 0;  // items
};

// The most items that any rows of at most max_tokens tokens and max_rows rows make.
AttentionWorkCapacity attention_work_capacity(int64_t max_tokens, int64_t max_rows,
                                              const AttentionPlanOptions& options);

// Writes the items of each class: decode and split ones longest first unless grouped, whole prefill tiles row by row.
// Rows of no tokens are skipped. CHECKs that the items fit; never allocates.
AttentionPlan plan_attention(std::span<const AttentionPlanRow> rows, const AttentionPlanOptions& options,
                             std::span<AttentionWorkItem> decode, std::span<AttentionWorkItem> prefill);

}  // namespace trireme
