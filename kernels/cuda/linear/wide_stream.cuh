#pragma once
// What blocks of wide_linear.cuh compute and copy: tiles, their place in a cluster, the ring of stages. A stage is a
// panel of 64 columns of the tile's tokens and one of its weight rows.

#include <cuda.h>

#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/multicast.cuh"
#include "kernels/cuda/common/wgmma_wide.cuh"
#include "kernels/cuda/linear/skinny_mma.h"

namespace trireme::cuda {

inline constexpr int kWideSharedBytes = 226 * 1024;  // of a block, alone on its processor, beside static memory

template <int kColumns_, int kGroups_>
struct WideTile {
  static constexpr int kColumns = kColumns_, kGroups = kGroups_;  // columns: weight rows
  static constexpr int kTokens = 64 * kGroups, kColumnTiles = kColumns / 8;
  static constexpr int kConsumers = 128 * kGroups, kThreads = kConsumers + 128;
  static constexpr int kTokenBytes = kTokens * kPanelRowBytes, kStageBytes = kTokenBytes + kColumns * kPanelRowBytes;
  static constexpr int kStages = (kWideSharedBytes - kPanelGroupBytes) / kStageBytes;

  // All 64 K registers: of kThreads threads as launched, and as the roles share them.
  static constexpr int kProducerRegisters = kGroups == 2 ? 24 : 32, kConsumerRegisters = kGroups == 2 ? 240 : 160;

  // Column tiles of 8 that a block of a split tile finishes at most, gates with their ups; and the first of them.
  __host__ __device__ static constexpr int share(int splits) { return (kColumnTiles / 2 + splits - 1) / splits * 2; }
  __host__ __device__ static constexpr int first(int split, int splits) {
    return split * share(splits) < kColumnTiles ? split * share(splits) : kColumnTiles;
  }
};

struct WideArgs {
  CUtensorMap weights, x;
  void* out;
  const bf16* bias;  // may be null
  int64_t out_stride;
  int tokens, features, steps, tile_features;
  int token_tiles, feature_tiles, splits;  // of a cluster
  int token_groups, groups;                // what clusters compute one after another; tokens first
  SkinnyEpilogue epilogue;
  bool gelu, out_is_float;
  bool aligned;    // eight neighbours of `out` can be written at once; two, where they are floats
  bool read_once;  // weights
  int late;        // steps that the second warpgroup starts after the first
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A block's place in its cluster, and what that cluster computes.
struct WidePlace {
  const WideArgs& args;
  int split, token, feature;  // which part of k, which of the cluster's tiles
  int begin, end;             // steps
  int cluster, clusters;
  __device__ explicit WidePlace(const WideArgs& a) : args(a) {
    const int rank = cluster_rank(), size = args.splits * args.token_tiles * args.feature_tiles;
    split = rank % args.splits, token = rank / args.splits % args.token_tiles;
    feature = rank / args.splits / args.token_tiles;
    begin = args.steps * split / args.splits, end = args.steps * (split + 1) / args.splits;
    cluster = int(blockIdx.x) / size, clusters = int(gridDim.x) / size;
  }
  __device__ int rank_of(int s, int t, int f) const { return s + args.splits * (t + args.token_tiles * f); }
  __device__ int token_tile(int group) const { return group % args.token_groups * args.token_tiles + token; }
  __device__ int feature_tile(int group) const { return group / args.token_groups * args.feature_tiles + feature; }
  // Blocks that get something from this one, and it from them; it is one of them.
  __device__ int peers() const { return args.token_tiles + args.feature_tiles - 1; }
  __device__ int peer(int n) const {
    if (n < args.token_tiles) return rank_of(split, n, feature);
    const int other = n - args.token_tiles;
    return rank_of(split, token, other < feature ? other : other + 1);
  }
};

struct WideRing {
  uint32_t stages, full, empty, parts;  // shared addresses: of stages and of barriers
};

template <class Tile>
struct WideStage {
  int number = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++number == Tile::kStages) number = 0, parity ^= 1;
  }
};

template <class Tile>
struct WideCopier {
  const WideArgs& args;
  const WideRing& ring;
  const WidePlace& place;
  uint16_t weight_peers = 0, x_peers = 0;  // bits of the ranks that use the same
  uint64_t policy = 0;

  __device__ WideCopier(const WideArgs& a, const WideRing& r, const WidePlace& p) : args(a), ring(r), place(p) {
    for (int t = 0; t < args.token_tiles; ++t)
      weight_peers |= uint16_t(1u << place.rank_of(place.split, t, place.feature));
    for (int f = 0; f < args.feature_tiles; ++f)
      x_peers |= uint16_t(1u << place.rank_of(place.split, place.token, f));
    policy = args.read_once ? evict_first_policy() : evict_normal_policy();
  }
  __device__ void copy_weights(int group, int step, int stage) const {
    const uint32_t full = ring.full + uint32_t(stage) * 8;
    arrive_expecting(full, Tile::kStageBytes);
    const int slice = Tile::kColumns / args.token_tiles, row = place.token * slice;
    const uint32_t to = ring.stages + uint32_t(stage * Tile::kStageBytes + Tile::kTokenBytes + row * kPanelRowBytes);
    const int from = place.feature_tile(group) * Tile::kColumns + row, k = step * kPanelColumns;
    if (args.epilogue == SkinnyEpilogue::gated)
      args.token_tiles > 1 ? copy_box_to_all(to, &args.weights, k, 0, 0, from / 16, full, weight_peers, policy)
                           : copy_box(to, &args.weights, k, 0, 0, from / 16, full, policy);
    else
      args.token_tiles > 1 ? copy_box_to_all(to, &args.weights, k, from, full, weight_peers, policy)
                           : copy_box(to, &args.weights, k, from, full, policy);
  }
  __device__ void copy_x(int group, int step, int stage) const {
    const int slice = Tile::kTokens / args.feature_tiles, row = place.feature * slice;
    const uint32_t full = ring.full + uint32_t(stage) * 8;
    const uint32_t to = ring.stages + uint32_t(stage * Tile::kStageBytes + row * kPanelRowBytes);
    const int from = place.token_tile(group) * Tile::kTokens + row, k = step * kPanelColumns;
    if (args.feature_tiles > 1)
      copy_box_to_all(to, &args.x, k, from, full, x_peers, evict_normal_policy());
    else
      copy_box(to, &args.x, k, from, full);
  }
  // Constants: these copies may run before the previous kernel has ended. Returns for how many stages.
  __device__ int copy_ahead() const {
    const int ahead = min(Tile::kStages, place.end - place.begin);
    for (int s = 0; s < ahead; ++s) copy_weights(place.cluster, place.begin + s, s);
    return ahead;
  }
  // All the rest, once x may be read.
  __device__ void run(int ahead) const {
    order_bulk_copies();
    WideStage<Tile> stage;
    for (int s = 0; s < ahead; ++s, stage.next()) copy_x(place.cluster, place.begin + s, s);
    // Stages are free in the first round, which parity 1 says of a barrier that has seen none.
    for (int group = place.cluster; group < args.groups; group += place.clusters) {
      for (int step = place.begin + (group == place.cluster ? ahead : 0); step < place.end; ++step, stage.next()) {
        wait_for_phase(ring.empty + uint32_t(stage.number) * 8, stage.parity ^ 1);
        copy_weights(group, step, stage.number);
        copy_x(group, step, stage.number);
      }
    }
    if (place.peers() > 1) drain(stage);
  }
  // Until all that were sent to have used the last of every stage, as for the next: a peer's arrival at a barrier of
  // this block may be under way when the peer itself has met all others, and the block must be there for it.
  __device__ void drain(WideStage<Tile> stage) const {
    for (int s = 0; s < Tile::kStages; ++s, stage.next())
      wait_for_phase(ring.empty + uint32_t(stage.number) * 8, stage.parity ^ 1);
  }
};

// By one thread, before anything else.
template <class Tile>
__device__ void init_barriers(const WideArgs& args, const WideRing& ring, const WidePlace& place) {
  for (int s = 0; s < Tile::kStages; ++s) {
    init_barrier(ring.full + uint32_t(s) * 8, 1);
    init_barrier(ring.empty + uint32_t(s) * 8, uint32_t(Tile::kConsumers / kWarpSize * place.peers()));
  }
  init_barrier(ring.parts, 1);
  publish_barriers();
  const int tiles = Tile::first(place.split + 1, args.splits) - Tile::first(place.split, args.splits);
  arrive_expecting(ring.parts, uint32_t((args.splits - 1) * tiles * Tile::kConsumers * 16));
}

#endif

}  // namespace trireme::cuda
