#pragma once
// What the parts of the kernel in hopper_linear.cuh share: the shape of a tile, the arguments, a block's work, and
// where in shared memory its ring and what its peers send lie.

#include <cuda.h>

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/common/wgmma_narrow.cuh"
#include "kernels/cuda/linear/hopper_linear.h"

namespace trireme::cuda {

inline constexpr int kMaxFedTokens = 8;
static_assert(kMaxFedTokens == kMaxNormedHopperTokens);

template <int kTokens_, int kGroups_, int kPanels_>
struct HopperTile {
  static constexpr int kTokens = kTokens_, kGroups = kGroups_, kPanels = kPanels_;
  static constexpr int kRows = 64 * kGroups, kStep = kPanels * kPanelColumns;
  // Few tokens' x is brought by warps of its own, kShares of them to a stage (hopper_feeder.cuh).
  static constexpr bool kFed = kTokens <= kMaxFedTokens;
  static constexpr int kFeeders = kFed ? 4 : 0, kShares = kPanels;
  static constexpr int kConsumers = 128 * kGroups, kThreads = kConsumers + (1 + kFeeders) * kWarpSize;
  // Who says that a place of the ring is free: a lane of every warp that multiplies, and all lanes that have filled it.
  static constexpr int kUsers = kConsumers / kWarpSize + (kFed ? kShares * kWarpSize : 0);
  static constexpr int kColumnTiles = kTokens / 8;
  static constexpr int kMaxStages = 16;
  static constexpr int kWeightPanelBytes = kRows * kPanelRowBytes, kTokenPanelBytes = kTokens * kPanelRowBytes;
  static constexpr int kWeightBytes = kPanels * kWeightPanelBytes;  // of a stage
  static constexpr int kStageBytes = kWeightBytes + kPanels * kTokenPanelBytes;
  // Column tiles of 8 tokens that a block of a split tile finishes at most, and the first of them.
  __host__ __device__ static constexpr int share(int splits) { return (kColumnTiles + splits - 1) / splits; }
  __host__ __device__ static constexpr int first(int split, int splits) {
    return split * share(splits) < kColumnTiles ? split * share(splits) : kColumnTiles;
  }
  // What the blocks of a split tile send one of them: parts of sums; with a norm, sums of squares, and the feeders'.
  __host__ __device__ static constexpr int part_bytes(int splits) {
    return splits > 1 ? splits * share(splits) * kConsumers * 16 : 0;
  }
  static constexpr int kSquareBytes = kTokens * int(sizeof(float));
  __host__ __device__ static constexpr int sum_bytes(int splits, bool norm) {
    return part_bytes(splits) + (norm ? (splits + kFeeders) * kSquareBytes : 0);
  }
};

struct HopperArgs {
  CUtensorMap weights, x;  // x: of more tokens than are fed
  void* out;
  const bf16 *fed_x, *bias;  // bias may be null
  const float* norm;         // null in the kernels without one
  float eps;
  int64_t out_stride, x_stride;
  int tokens, features, in_features, steps, tile_features, stages;
  int splits;  // blocks of a cluster, each with some of a tile's steps
  SkinnyEpilogue epilogue;
  bool gelu, out_is_float;
  bool pairs;  // two neighbours of `out` can be written at once
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A block's work: a tile's steps [begin, end). Its split is its rank in the cluster.
struct HopperWork {
  int tile, split, begin, end;
  __device__ explicit HopperWork(const HopperArgs& args) {
    tile = int(blockIdx.x) / args.splits, split = int(blockIdx.x) % args.splits;
    begin = args.steps * split / args.splits, end = args.steps * (split + 1) / args.splits;
  }
};

// Shared addresses: of stages, of what peers send, of a stage's barriers (what is copied has come; its x is fed; it is
// free), and of the barrier that counts what peers have sent. Peers send to the ring itself, once nobody needs it as
// one, or, where x is fed, behind it.
struct HopperRing {
  uint32_t stages, parts, squares, full, fed, empty, sent;
};

// Where a walk through the ring is: the parity of a stage's round changes from one round to the next.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance(int by, int stages) {
    stage += by;
    while (stage >= stages) stage -= stages, parity ^= 1;
  }
};

#endif

}  // namespace trireme::cuda
