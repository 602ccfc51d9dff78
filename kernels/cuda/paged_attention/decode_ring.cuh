#pragma once
// A decode block's shared memory, and how a warp's keys and values come into it.

#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// In kBlocks' place: of decode_group_attention_kernel, two of which run at a time.
inline constexpr int kGroupedBlocks = 1;

// Of a warp. Two blocks fit a processor's shared memory, or four: so many short ones hide one another's start and end,
// two read further ahead.
template <int kBlocks>
inline constexpr int kRingBytes = kBlocks == kManyDecodeBlocks ? 13056 : kBlocks == kGroupedBlocks ? 21760 : 26112;

template <int kDim, typename Element, int kBlocks>
struct DecodeShared {
  using Rows = TileRows<kDim, Element>;
  static constexpr int kKeys = 16;                                // of a warp's step
  static constexpr int kStepKeys = kKeys * kAttentionWarps;       // of the block's
  static constexpr int kUnit = kKeys * Rows::kStride;             // elements: K or V of a step
  static constexpr int kUnits = kRingBytes<kBlocks> / (kUnit * int(sizeof(Element)));  // of a warp's ring
  static constexpr int kQuery = kDecodeTileRows * TileRows<kDim>::kStride;             // bf16
  static constexpr size_t kRings = sizeof(Element) * kAttentionWarps * kUnits * kUnit;
  static constexpr size_t kBytes = sizeof(bf16) * kQuery + kRings;
  static constexpr int kStates = 2 * kAttentionWarps * kDecodeTileRows;  // floats: the warps' maxima and sums
  static constexpr int kScratch = kDim > kStates ? kDim : kStates;  // floats: those, or a token's cosines and sines
  static constexpr int kOutputStride = kDim + 8;  // floats; the warps' results lie over the rings
  static_assert(kUnits >= 3);
  static_assert(sizeof(float) * kAttentionWarps * kDecodeTileRows * kOutputStride <= kRings);
  static_assert(sizeof(float) * kDecodeTileRows * kMaxDecodeSplits <= kRings);
};

// A warp's keys and values on their way. Unit 2 s is K of its step s, unit 2 s + 1 is V; one copy group per unit.
template <int kDim, typename Element, int kBlocks>
struct UnitRing {
  using Shared = DecodeShared<kDim, Element, kBlocks>;
  static constexpr int kUnits = Shared::kUnits;
  static constexpr int kAhead = kUnits - 1;  // units asked for before they are used
  const AttentionArgs& args;
  const AttentionTile& tile;
  Element* ring;
  const Element* head;  // the KV head's first K
  int lane;
  int key;                  // first of the step that was asked for last
  uint32_t place, next_place;  // of key + lane % 16; of the step after that

  __device__ uint32_t place_of(int first_key) const { return key_place<Element>(args, tile, first_key + lane % 16); }

  // Rows from `end` on that exist are left alone.
  template <bool kHasEnd>
  __device__ void copy_unit(Element* to, const Element* from, uint32_t places, int end = 0) const {
    using Rows = typename Shared::Rows;
#pragma unroll
    for (int i = 0; i < Shared::kKeys * Rows::kPieces / kWarpSize; ++i) {
      const int index = i * kWarpSize + lane, row = index / Rows::kPieces, piece = index % Rows::kPieces;
      const uint32_t row_place = __shfl_sync(0xffffffffu, places, row);
      const bool valid = row_place != kNoKey && piece * Rows::kPieceElements < args.head_dim;
      if (kHasEnd && row >= end && valid) continue;
      const Element* source = from + (valid ? (int64_t(row_place) + piece) * Rows::kPieceElements : 0);
      copy_16_async_of_line(to + row * Rows::kStride + piece * Rows::kPieceElements, source, valid);
    }
  }

  __device__ const Element* part(int unit) const { return unit % 2 ? head + args.value_offset : head; }

  // The cache's blocks of the lane's keys in the first steps. All lookups at once: they are one latency. key_end is as
  // planned here, perhaps beyond what the table has: such entries are read from its row's end and not used.
  struct Lookups {
    int32_t blocks[kAhead / 2 + 2];
  };
  __device__ Lookups look_up(int first_key) const {
    Lookups found;
    const int last = int(min(args.table_stride * args.block_size, int64_t(INT32_MAX))) - 1;
#pragma unroll
    for (int s = 0; s < kAhead / 2 + 2; ++s) {
      const int of = first_key + s * Shared::kStepKeys + lane % 16;
      found.blocks[s] = of < tile.key_end ? table_entry(args, tile, min(of, last)) : 0;
    }
    return found;
  }

  // The first kAhead units, but for the rows of keys from old_end on.
  __device__ void begin(int first_key, int old_end, const Lookups& found) {
    uint32_t places[kAhead / 2 + 2];
#pragma unroll
    for (int s = 0; s < kAhead / 2 + 2; ++s)
      places[s] = place_in<Element>(args, tile, first_key + s * Shared::kStepKeys + lane % 16, found.blocks[s]);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int unit_key = first_key + u / 2 * Shared::kStepKeys;
      if (unit_key < tile.key_end)
        copy_unit<true>(ring + u * Shared::kUnit, part(u), places[u / 2], old_end - unit_key);
      end_copy_group();
    }
    constexpr int kLast = (kAhead - 1) / 2;
    key = first_key + kLast * Shared::kStepKeys;
    place = places[kLast];
    next_place = places[kLast + 1];
  }

  // Those rows, from the cache.
  __device__ void begin_new(int first_key, int old_end) const {
    if (first_key + (kAhead - 1) / 2 * Shared::kStepKeys + Shared::kKeys <= old_end) return;
#pragma unroll 1
    for (int u = 0; u < kAhead; ++u) {
      const int unit_key = first_key + u / 2 * Shared::kStepKeys;
      if (unit_key + Shared::kKeys <= old_end || unit_key >= tile.key_end) continue;
      const uint32_t places = unit_key + lane % 16 < old_end ? kNoKey : place_of(unit_key);
      copy_new(ring + u * Shared::kUnit, part(u), places);
    }
    wait_for_copies();
  }
  __device__ void copy_new(Element* to, const Element* from, uint32_t places) const {
    using Rows = typename Shared::Rows;
#pragma unroll 1
    for (int index = lane; index < Shared::kKeys * Rows::kPieces; index += kWarpSize) {
      const int row = index / Rows::kPieces, piece = index % Rows::kPieces;
      const uint32_t row_place = __shfl_sync(0xffffffffu, places, row);
      if (row_place != kNoKey && piece * Rows::kPieceElements < args.head_dim)
        copy_16_async(to + row * Rows::kStride + piece * Rows::kPieceElements,
                      from + (int64_t(row_place) + piece) * Rows::kPieceElements, true);
    }
  }

  // Where part (0: K, 1: V) of the key at `position` belongs in one of the warps' rings, if begin() asked for its unit, else
  // null: take() will have it from the cache. `rings`: of all warps.
  __device__ Element* first_row(Element* rings, int position, int part) const {
    const int from_base = position - tile.key_begin / Shared::kKeys * Shared::kKeys;
    const int unit = 2 * (from_base / Shared::kStepKeys) + part;
    if (unit >= kAhead) return nullptr;
    return rings + (from_base % Shared::kStepKeys / Shared::kKeys * kUnits + unit) * Shared::kUnit +
           position % Shared::kKeys * Shared::Rows::kStride;
  }

  // Waits for the unit in `slot`, then asks for the one kAhead units later, in the slot used before this one.
  template <bool kValues>
  __device__ const Element* take(int slot) {
    wait_for_copy_groups<kAhead - 1>();
    __syncwarp();
    Element* free = ring + (slot == 0 ? kUnits - 1 : slot - 1) * Shared::kUnit;
    constexpr bool kAsksForValues = kValues != (kAhead % 2 == 1);
    if constexpr (!kAsksForValues) {
      key += Shared::kStepKeys;
      place = next_place;
      next_place = place_of(key + Shared::kStepKeys);
    }
    if (key < tile.key_end) copy_unit<false>(free, part(kAsksForValues), place);
    end_copy_group();
    return ring + slot * Shared::kUnit;
  }
};

}  // namespace trireme::cuda
