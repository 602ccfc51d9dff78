#pragma once
// What the parts of the kernel in hopper_linear.cuh share: the shape of a tile, the arguments, a block's work and where
// its ring lies.

#include <cuda.h>

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/common/wgmma_narrow.cuh"
#include "kernels/cuda/hopper_linear.h"

namespace trireme::cuda {

template <int kTokens_, int kGroups_, int kPanels_>
struct HopperTile {
  static constexpr int kTokens = kTokens_, kGroups = kGroups_, kPanels = kPanels_;
  static constexpr int kRows = 64 * kGroups, kStep = kPanels * kPanelColumns;
  static constexpr int kConsumers = 128 * kGroups, kThreads = kConsumers + kWarpSize;
  static constexpr int kColumnTiles = kTokens / 8;
  static constexpr int kMaxStages = 16;
  static constexpr int kWeightPanelBytes = kRows * kPanelRowBytes, kTokenPanelBytes = kTokens * kPanelRowBytes;
  static constexpr int kStageBytes = kPanels * (kWeightPanelBytes + kTokenPanelBytes);
  static constexpr int kNormBytes = kStep * int(sizeof(float));  // of a stage, beside those: the norm's weights
  static constexpr int kBlocks = kGroups > 2 ? 1 : 2;            // that a processor's registers are enough for
  // Column tiles of 8 tokens that a block of a split tile finishes at most, and the first of them.
  __host__ __device__ static constexpr int share(int splits) { return (kColumnTiles + splits - 1) / splits; }
  __host__ __device__ static constexpr int first(int split, int splits) {
    return split * share(splits) < kColumnTiles ? split * share(splits) : kColumnTiles;
  }
};

struct HopperArgs {
  CUtensorMap weights, x;
  void* out;
  const bf16* bias;  // may be null
  const float* norm;  // null in the kernels without one
  float eps;
  int64_t out_stride;
  int tokens, features, in_features, steps, tile_features, stages;
  int ahead;   // stages beyond the ring that are asked for into the L2 cache before the previous kernel has ended
  int splits;  // blocks of a cluster, each with some of a tile's steps
  bool apart;  // the parts of a split tile have room of their own behind the ring
  bool early;
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

struct HopperRing {
  // Shared addresses: of stages, of the norm's weights, of what peers send, and of barriers.
  uint32_t stages, norms, received, full, empty, parts;
};

#endif

}  // namespace trireme::cuda
