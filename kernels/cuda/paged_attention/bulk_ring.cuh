#pragma once
// Keys and values of a decode block as boxes of the cache: their shared memory, how they come into it, and the products
// with them.

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/paged_attention/decode_ring.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"

namespace trireme::cuda {

inline constexpr int kUnitPanelColumns = 64;  // of a row: 128 bytes of shared memory, whose pieces of 16 are swizzled

// Offsets in bytes from an address aligned to kAlignment.
template <int kDim, int kBlocks>
struct BulkShared {
  using Decode = DecodeShared<kDim, bf16, kBlocks>;
  static constexpr int kKeys = Decode::kKeys, kStepKeys = Decode::kStepKeys;
  static constexpr int kPanels = kDim / kUnitPanelColumns;
  static constexpr int kPanelBytes = kKeys * kUnitPanelColumns * int(sizeof(bf16));
  static constexpr int kUnitBytes = kPanels * kPanelBytes;  // K or V of a warp's step
  static constexpr int kUnits = (kBlocks == kManyDecodeBlocks ? 3 : 6) * 128 / kDim;  // of a warp's ring
  static constexpr int kRings = kAttentionWarps * kUnits * kUnitBytes;
  static constexpr int kQueries = kRings;
  static constexpr int kToken = kQueries + Decode::kQuery * int(sizeof(bf16));
  static constexpr int kBarriers = kToken + 2 * kDim * int(sizeof(bf16));
  static constexpr int kAlignment = 1024;
  static constexpr int kBytes = kAlignment + kBarriers + kAttentionWarps * kUnits * int(sizeof(uint64_t));
  static constexpr int kScratch = Decode::kScratch;
  static_assert(int(sizeof(float)) * kAttentionWarps * kDecodeTileRows * Decode::kOutputStride <= kRings);
  static_assert(int(sizeof(float)) * kDecodeTileRows * kMaxDecodeSplits <= kRings);
};

#if __CUDA_ARCH__ >= 900

// A warp's keys and values on their way. Unit 2 s is K of its run s of 16 keys, unit 2 s + 1 is V. A lane knows the places
// of every 32nd run and asks for those.
template <int kDim, int kBlocks>
struct BulkRing {
  using Shared = BulkShared<kDim, kBlocks>;
  static constexpr int kUnits = Shared::kUnits;
  const AttentionArgs& args;
  const AttentionTile& tile;
  const CUtensorMap* map;
  uint32_t units, barriers;  // of the warp
  uint64_t policy = evict_first_policy();
  int lane;
  int first_key = 0;
  int run = 0, asked_slot = 0;  // of the unit that is asked for next
  bool asks_values = false;
  int row = 0;                  // of the cache: first K of run / 32 * 32 + lane
  int32_t next_block = 0;       // table entry of 32 runs later
  int slot = 0;                 // of the unit that is taken next
  uint32_t phase = 0;

  __device__ BulkRing(const AttentionArgs& a, const AttentionTile& t, const CUtensorMap& keys, uint32_t shared,
                      int warp, int warp_lane)
      : args(a),
        tile(t),
        map(&keys),
        units(shared + warp * kUnits * Shared::kUnitBytes),
        barriers(shared + Shared::kBarriers + warp * kUnits * int(sizeof(uint64_t))),
        lane(warp_lane) {
    if (lane == 0) {
      for (int u = 0; u < kUnits; ++u) init_barrier(barrier(u), 1);
      publish_barriers();
      fetch_tensor_map(map);
    }
    __syncwarp();
    order_bulk_copies();
  }

  __device__ uint32_t barrier(int of) const { return barriers + of * int(sizeof(uint64_t)); }
  __device__ int key_of(int of) const { return first_key + of * Shared::kStepKeys; }
  // key_end may be as planned here, perhaps beyond what the table has: such entries are read from its row's end and not
  // used.
  __device__ int32_t block_of(int of) const {
    const int last = int(min(args.table_stride * args.block_size, int64_t(INT32_MAX))) - 1, key = key_of(of);
    return key < tile.key_end ? table_entry(args, tile, min(key, last)) : 0;
  }
  __device__ int row_of(int of, int32_t block) const {
    return (block * 2 * args.kv_heads + tile.kv_head) * args.block_size + key_of(of) % args.block_size;
  }

  __device__ int32_t look_up() {
    next_block = block_of(kWarpSize + lane);
    return block_of(lane);
  }
  // As many units as there is room for, but for those of keys from old_end on. found: look_up().
  __device__ void begin(int32_t found, int old_end) {
    row = row_of(lane, found);
#pragma unroll 1
    for (int u = 0; u < kUnits && min(key_of(u / 2) + Shared::kKeys, tile.key_end) <= old_end; ++u) ask();
  }
  // Those units, from the cache.
  __device__ void begin_new() {
    order_bulk_copies();
#pragma unroll 1
    while (2 * run + int(asks_values) < kUnits) ask();
  }

  __device__ void ask() {
    if (key_of(run) < tile.key_end && lane == run % kWarpSize) {
      arrive_expecting(barrier(asked_slot), Shared::kUnitBytes);
      const int first = row + (asks_values ? args.kv_heads * args.block_size : 0);
      copy_box(units + asked_slot * Shared::kUnitBytes, map, 0, first, 0, barrier(asked_slot), policy);
    }
    if (++asked_slot == kUnits) asked_slot = 0;
    if (asks_values && ++run % kWarpSize == 0) {
      row = row_of(run + lane, next_block);
      next_block = block_of(run + kWarpSize + lane);
    }
    asks_values = !asks_values;
  }
  // Waits for the next unit, then asks for another in the place of the one that was taken before.
  __device__ uint32_t take(bool is_first) {
    wait_for_phase(barrier(slot), phase);
    __syncwarp();
    if (!is_first) ask();
    const uint32_t unit = units + slot * Shared::kUnitBytes;
    if (++slot == kUnits) slot = 0, phase ^= 1;
    return unit;
  }
};

// Where the eight columns from 8 * piece on of a unit's row lie.
__device__ inline uint32_t unit_piece(uint32_t unit, int row, int piece) {
  constexpr int kRowBytes = kUnitPanelColumns * int(sizeof(bf16)), kPanelBytes = 16 * kRowBytes;
  return unit + uint32_t(piece / 8 * kPanelBytes + row * kRowBytes + ((piece % 8 ^ row % 8) << 4));
}
// The same of `piece` + d / 8, where `at` is that of `piece`, 0 or 1, and d a multiple of 16.
__device__ inline uint32_t further_piece(uint32_t at, int d) {
  return (at ^ uint32_t(d % kUnitPanelColumns / 8 << 4)) + uint32_t(d / kUnitPanelColumns * 2048);
}

__device__ inline void put_piece(uint32_t at, const uint4& bits) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w)
               : "memory");
}
// Zeros for rows [begin, end), values that are not the tile's, so that a probability of zero never meets a NaN.
template <int kDim>
__device__ inline void clear_rows(uint32_t unit, int begin, int end, int lane) {
  constexpr int kPieces = kDim / 8;
#pragma unroll 1
  for (int i = begin * kPieces + lane; i < end * kPieces; i += kWarpSize)
    put_piece(unit_piece(unit, i / kPieces, i % kPieces), make_uint4(0, 0, 0, 0));
  __syncwarp();
}
template <int kDim>
__device__ inline void put_row(uint32_t unit, int row, const bf16* from, int lane) {
  if (lane < kDim / 8) put_piece(unit_piece(unit, row, lane), reinterpret_cast<const uint4*>(from)[lane]);
  __syncwarp();
}

template <int kDim, bool kHeld>
__device__ inline void multiply_unit_scores(float (&scores)[1][2][4], const QueryFragments<kDim, 1, kHeld>& queries,
                                            uint32_t keys, int lane) {
  const uint32_t at = unit_piece(keys, lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[0][n][i] = 0;
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[4], b[4];
    queries.get(a, 0, d);
    load_matrices(b, further_piece(at, d));
    multiply_add_16x8x16(scores[0][0], a, b[0], b[1]);
    multiply_add_16x8x16(scores[0][1], a, b[2], b[3]);
  }
}

template <int kDim>
__device__ inline void multiply_unit_values(RunningSoftmax<kDim>& state, const float (&probabilities)[1][2][4],
                                            uint32_t values, int lane) {
  const uint32_t at = unit_piece(values, lane % 16, lane / 16);
  const float(&low)[4] = probabilities[0][0];
  const float(&high)[4] = probabilities[0][1];
  const uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]),
                         pack_bf16(high[2], high[3])};
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t b[4];
    load_matrices_transposed(b, further_piece(at, d));
    multiply_add_16x8x16(state.output[d / 8], a, b[0], b[1]);
    multiply_add_16x8x16(state.output[d / 8 + 1], a, b[2], b[3]);
  }
}

#endif

}  // namespace trireme::cuda
