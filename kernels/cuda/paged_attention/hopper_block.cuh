#pragma once
// What the warps of a block of the Hopper prefill kernel share: shared memory, the barriers in it, the tensor maps.

#include <cuda.h>

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/paged_attention/prefill.cuh"

namespace trireme::cuda {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWarpgroupWarps = kWarpgroupThreads / kWarpSize;
inline constexpr int kHopperConsumers = 2;  // warpgroups
inline constexpr int kHopperThreads = (1 + kHopperConsumers) * kWarpgroupThreads;
inline constexpr int kHopperProducerRegisters = 40, kHopperConsumerRegisters = 232;

// Where queries, keys and values come from: q as [tokens, heads, head_dim], whole tokens of a group to a box; the cache
// as rows of head_dim, keys of one block to a box; and both row by row, where not all of a box is wanted. A box has 64
// columns, those of a panel.
struct HopperMaps {
  CUtensorMap query_boxes, query_rows, key_boxes, key_rows;
  int box_tokens, box_keys;
  int no_row;  // beyond the cache: arrives as zeros
};

// Byte offsets in shared memory.
template <int kDim>
struct HopperShared {
  static constexpr int kRowsOfGroup = 64;  // of a consumer warpgroup
  static constexpr int kRows = kHopperConsumers * kRowsOfGroup, kKeys = 128, kStages = 2;
  static constexpr int kPanels = kDim / kPanelColumns;
  static constexpr int kQueryPanelBytes = kRows * kPanelRowBytes, kKeyPanelBytes = kKeys * kPanelRowBytes;
  static constexpr int kQueryBytes = kPanels * kQueryPanelBytes, kKeyBytes = kPanels * kKeyPanelBytes;
  static constexpr int kQueries = 0;
  static constexpr int kTileKeys = kQueries + kQueryBytes;             // [kStages]
  static constexpr int kTileValues = kTileKeys + kStages * kKeyBytes;  // [kStages]
  static constexpr int kOutputs = kTileValues + kStages * kKeyBytes;   // rows as TileRows has them; the merge's weights
  static constexpr int kRowBytes = TileRows<kDim>::kStride * int(sizeof(bf16));
  static constexpr int kWeightBytes = kMaxPrefillSplits * int(sizeof(float));
  static constexpr int kBarriers = kOutputs + kRows * (kRowBytes > kWeightBytes ? kRowBytes : kWeightBytes);
  static constexpr int kTiles = kBarriers + 128;  // two descriptions
  static constexpr int kTileBytes = 64;
  static constexpr size_t kBytes = kTiles + 2 * kTileBytes + kPanelGroupBytes;  // and what aligns the first
  static_assert(sizeof(AttentionTile) <= kTileBytes && kBarriers % 16 == 0);
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A position in a ring of stages.
template <int kStages>
struct RingPosition {
  int stage = 0;
  uint32_t phase = 0;
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};
using TilePosition = RingPosition<2>;

// Of one block, as addresses in shared memory.
template <int kDim>
struct HopperBlock {
  using Shared = HopperShared<kDim>;
  uint32_t base;
  unsigned char* bytes;

  __device__ uint32_t barrier(int index) const { return base + Shared::kBarriers + 8 * index; }
  __device__ uint32_t tile_ready(int slot) const { return barrier(slot); }     // a tile's description
  __device__ uint32_t tile_read(int slot) const { return barrier(2 + slot); }  // and its queries multiplied
  __device__ uint32_t queries_ready() const { return barrier(4); }
  __device__ uint32_t keys_ready(int stage) const { return barrier(5 + stage); }
  __device__ uint32_t keys_read(int stage) const { return barrier(7 + stage); }
  __device__ uint32_t values_ready(int stage) const { return barrier(9 + stage); }
  __device__ uint32_t values_read(int stage) const { return barrier(11 + stage); }
  __device__ uint32_t keys(int stage) const { return base + Shared::kTileKeys + stage * Shared::kKeyBytes; }
  __device__ uint32_t values(int stage) const { return base + Shared::kTileValues + stage * Shared::kKeyBytes; }
  __device__ AttentionTile& tile(int slot) const {
    return *reinterpret_cast<AttentionTile*>(bytes + Shared::kTiles + slot * Shared::kTileBytes);
  }

  __device__ void init_barriers() const {
    constexpr int kConsumers = kHopperConsumers * kWarpgroupWarps, kCopying = 3;  // warps
    init_barrier(queries_ready(), 1);
    for (int i = 0; i < 2; ++i) {
      init_barrier(tile_ready(i), 1);
      init_barrier(tile_read(i), kConsumers + kCopying);
      init_barrier(keys_ready(i), 1);
      init_barrier(values_ready(i), 1);
      init_barrier(keys_read(i), kConsumers);
      init_barrier(values_read(i), kConsumers);
    }
    publish_barriers();
  }
  static_assert(Shared::kStages == 2);
};

#endif

}  // namespace trireme::cuda
