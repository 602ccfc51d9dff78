#pragma once
// The producing warpgroup of the Hopper prefill kernel: one warp hands out tiles, the others have queries, keys and
// values copied into shared memory, each as far ahead of the consumers as there is room.

#include "kernels/cuda/paged_attention/hopper_block.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// One thread. Tiles are numbered through all items and KV heads; a block's first is its own number, others come from a
// counter that ends every launch at 0, as there are as many tiles as times a block asks for one. It asks when the tile
// before the one in work is finished.
template <int kDim>
__device__ inline void hand_out_tiles(const HopperBlock<kDim>& block, const AttentionArgs& args) {
  const int tiles = __ldcg(args.num_items) * args.kv_heads;
  TilePosition at;
  int index = int(blockIdx.x);
  while (index < tiles) {
    block.tile(at.stage) = tile_of(args, index / args.kv_heads, index % args.kv_heads);
    arrive(block.tile_ready(at.stage));
    at.advance();
    wait_for_phase(block.tile_read(at.stage), at.phase ^ 1);
    index = int(gridDim.x + atomicInc(args.next_tile, unsigned(tiles - 1)));
  }
  block.tile(at.stage).num_splits = 0;  // the end
  arrive(block.tile_ready(at.stage));
}

// By a copying warp, which reads a description once.
template <int kDim>
__device__ inline AttentionTile take_tile(const HopperBlock<kDim>& block, const TilePosition& at, int lane) {
  wait_for_phase(block.tile_ready(at.stage), at.phase);
  const AttentionTile tile = block.tile(at.stage);
  __syncwarp();
  if (lane == 0) arrive(block.tile_read(at.stage));
  return tile;
}

// The packed rows of a tile: whole tokens by boxes, others head by head.
template <int kDim>
__device__ inline void copy_queries(const HopperBlock<kDim>& block, const AttentionArgs& args, const HopperMaps& maps,
                                    const AttentionTile& tile, int lane) {
  using Shared = HopperShared<kDim>;
  const int box_rows = maps.box_tokens * args.group, first_head = tile.kv_head * args.group;
  const int first = tile.first_packed / box_rows, last = (tile.first_packed + Shared::kRows - 1) / box_rows;
  for (int i = lane; i < (last - first + 1) * Shared::kPanels; i += kWarpSize) {
    const int panel = i % Shared::kPanels, box = first + i / Shared::kPanels;
    const int begin = box * box_rows - tile.first_packed, end = begin + box_rows;  // rows of the tile
    const int token = tile.first_token + box * maps.box_tokens;
    const uint32_t to = block.base + Shared::kQueries + panel * Shared::kQueryPanelBytes;
    if (begin >= 0 && end <= Shared::kRows) {
      copy_box(to + begin * kPanelRowBytes, &maps.query_boxes, panel * kPanelColumns, first_head, token,
               block.queries_ready());
      continue;
    }
    for (int row = max(begin, 0); row < min(end, Shared::kRows); ++row)
      copy_box(to + row * kPanelRowBytes, &maps.query_rows, panel * kPanelColumns,
               first_head + (row - begin) % args.group, token + (row - begin) / args.group, block.queries_ready());
  }
}

template <int kDim>
__device__ inline void copy_all_queries(const HopperBlock<kDim>& block, const AttentionArgs& args,
                                        const HopperMaps& maps, int lane) {
  TilePosition before;
  for (TilePosition at;; before = at, at.advance()) {
    const AttentionTile tile = take_tile(block, at, lane);
    if (tile.num_splits == 0) return;
    if (at.stage != before.stage) wait_for_phase(block.tile_read(before.stage), before.phase);
    if (lane == 0) arrive_expecting(block.queries_ready(), HopperShared<kDim>::kQueryBytes);
    __syncwarp();
    copy_queries(block, args, maps, tile, lane);
  }
}

// Of a lane: one panel of one box of a tile of 128 keys.
template <int kDim>
struct LaneBox {
  using Shared = HopperShared<kDim>;
  int panel, first;  // first: key, within the tile of keys
  bool exists;
  int row;     // of the cache; no_row: none of the keys are the block's
  bool whole;  // all are, or none

  __device__ LaneBox(const HopperMaps& maps, int lane)
      : panel(lane % Shared::kPanels), first(lane / Shared::kPanels * maps.box_keys), exists(first < Shared::kKeys) {}

  // head_row: of the KV head and K or V within a block, as rows of the cache.
  __device__ void find(const AttentionArgs& args, const HopperMaps& maps, const AttentionTile& tile, int head_row,
                       int first_key) {
    const int begin = first_key + first, end = begin + maps.box_keys;
    row = maps.no_row, whole = true;
    if (!exists || end <= tile.key_begin || begin >= tile.key_end) return;
    row = table_entry(args, tile, begin) * (2 * args.kv_heads * args.block_size) + head_row + begin % args.block_size;
    whole = begin >= tile.key_begin && end <= tile.key_end;
  }

  // Zeros for keys that are not the block's, so that a probability of zero never meets a NaN.
  __device__ void copy(uint32_t to, const HopperMaps& maps, const AttentionTile& tile, int first_key, uint32_t ready,
                       int lane) const {
    to += panel * Shared::kKeyPanelBytes;
    if (exists && whole)
      copy_box(to + first * kPanelRowBytes, &maps.key_boxes, panel * kPanelColumns, row, 0, ready);
    constexpr int kRowsAtATime = kWarpSize / Shared::kPanels;
    for (unsigned parts = __ballot_sync(~0u, !whole && panel == 0); parts != 0; parts &= parts - 1) {
      const int source = __ffs(int(parts)) - 1;
      const int part_first = __shfl_sync(~0u, first, source), part_row = __shfl_sync(~0u, row, source);
      for (int i = lane / Shared::kPanels; i < maps.box_keys; i += kRowsAtATime) {
        const int key = first_key + part_first + i;
        const bool valid = key >= tile.key_begin && key < tile.key_end;
        copy_box(to + (part_first + i) * kPanelRowBytes, &maps.key_rows, panel * kPanelColumns,
                 valid ? part_row + i : maps.no_row, 0, ready);
      }
    }
  }
};

// One warp for K, one for V.
template <int kDim, bool kValues>
__device__ inline void copy_all_keys(const HopperBlock<kDim>& block, const AttentionArgs& args, const HopperMaps& maps,
                                     int lane) {
  using Shared = HopperShared<kDim>;
  LaneBox<kDim> box(maps, lane);
  RingPosition<Shared::kStages> ring;
  for (TilePosition at;; at.advance()) {
    const AttentionTile tile = take_tile(block, at, lane);
    if (tile.num_splits == 0) return;
    const int head_row = (tile.kv_head + (kValues ? args.kv_heads : 0)) * args.block_size;
    int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys;
    box.find(args, maps, tile, head_row, first_key);
    for (; first_key < tile.key_end; first_key += Shared::kKeys, ring.advance()) {
      const uint32_t ready = kValues ? block.values_ready(ring.stage) : block.keys_ready(ring.stage);
      wait_for_phase(kValues ? block.values_read(ring.stage) : block.keys_read(ring.stage), ring.phase ^ 1);
      if (lane == 0) arrive_expecting(ready, Shared::kKeyBytes);
      __syncwarp();
      box.copy(kValues ? block.values(ring.stage) : block.keys(ring.stage), maps, tile, first_key, ready, lane);
      box.find(args, maps, tile, head_row, first_key + Shared::kKeys);
    }
  }
}

template <int kDim>
__device__ inline void produce(const HopperBlock<kDim>& block, const AttentionArgs& args, const HopperMaps& maps) {
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  order_bulk_copies();
  switch (warp) {
    case 0: return copy_all_keys<kDim, false>(block, args, maps, lane);
    case 1: return copy_all_keys<kDim, true>(block, args, maps, lane);
    case 2: return copy_all_queries(block, args, maps, lane);
    default:
      if (lane == 0) hand_out_tiles(block, args);
  }
}

#endif

}  // namespace trireme::cuda
