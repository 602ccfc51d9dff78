#pragma once
// The parts of the kernel of skinny_mma.h: the shape of a tile, the list of work, and how the sums of warps and blocks
// become outputs.
//
// Work is the list of all (tile of weight rows, step of k), cut evenly over the blocks; the warps of a block split each
// step's k. Where a tile's k range is shared by several blocks, the last of them to arrive adds the parts in k order.

#include "kernels/cuda/common/gated_activation.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/linear/skinny_mma.h"

namespace trireme::cuda {

// kTokenTiles of 8 tokens, kRowTiles of 16 weight rows, kBlocks of 32 k per warp and step.
template <int kTokenTiles_, int kRowTiles_, int kBlocks_, int kWarps_, int kStages_>
struct SkinnyTile {
  static constexpr int kTokenTiles = kTokenTiles_, kRowTiles = kRowTiles_, kBlocks = kBlocks_, kWarps = kWarps_,
                       kStages = kStages_;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kTokens = 8 * kTokenTiles, kRows = 16 * kRowTiles;
  static constexpr int kStep = kWarps * kBlocks * 32;                // k of a step
  static constexpr int kPieces = 2 * kRowTiles + kTokenTiles;        // 16-byte pieces of a lane and block
  static constexpr int kNormBytes = 128;                             // of a block: its 32 norm weights
  static constexpr int kPitch = kRows + 4;                           // of the sums: no bank twice in a warp's store
  static constexpr int kSumFloats = kWarps * kTokens * (kPitch + 1);  // sums, then sums of squares
  static constexpr int kPartFloats = kTokens * (kRows + 1);          // of one block's share of a tile
  __host__ __device__ static constexpr int block_bytes(bool norm) {
    return kPieces * kWarpSize * 16 + (norm ? kNormBytes : 0);
  }
  __host__ __device__ static constexpr int shared_bytes(bool norm) {
    return kWarps * kStages * kBlocks * block_bytes(norm) + kSumFloats * int(sizeof(float));
  }
};

struct SkinnyArgs {
  void* out;
  const bf16 *x, *weight, *bias;  // bias may be null
  const float* norm;
  float* parts;        // [blocks, 2, kPartFloats]
  uint32_t* arrivals;  // [blocks], zero between launches
  int64_t out_stride, x_stride;
  int64_t row_tile_step, half_step;  // elements between the weight rows of 16-row tiles, and of their halves
  int tokens, features, in_features, steps, num_tiles;
  // Features from a tile to the next, from a 16-row tile to the next, between its halves: gated halves share theirs.
  int tile_features, row_tile_features, half_features;
  float eps;
  SkinnyEpilogue epilogue;
  bool gelu, out_is_float;
};

__device__ inline int64_t first_unit(const SkinnyArgs& args, int64_t block) {
  return int64_t(args.num_tiles) * args.steps * block / gridDim.x;
}
// The block whose range holds a unit.
__device__ inline int64_t block_of_unit(const SkinnyArgs& args, int64_t unit) {
  int64_t block = unit * gridDim.x / (int64_t(args.num_tiles) * args.steps);
  while (block + 1 < gridDim.x && first_unit(args, block + 1) <= unit) ++block;
  return block;
}

struct SkinnyCursor {
  int tile, step;
  __device__ void advance(int steps) {
    if (++step == steps) step = 0, ++tile;
  }
};

// One warp's share of a block's sums. Lane (g, i) = (lane / 4, lane % 4).
template <class Tile, bool kNorm>
struct SkinnySums {
  static constexpr int kM = Tile::kRowTiles, kN = Tile::kTokenTiles;
  int warp, g, i;
  float sums[kM][kN][4];
  float squares[kN];

  __device__ SkinnySums()
      : warp(int(threadIdx.x) / kWarpSize), g(int(threadIdx.x) % kWarpSize / 4), i(int(threadIdx.x) % 4) {
    clear();
  }
  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      squares[n] = 0;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[m][n][c] = 0;
    }
  }
  // x times the norm's weights; the row's scale is applied to the sums.
  __device__ static void apply_norm(uint4& x, float& square, const float* weights) {
    float values[8], norm[8];
    unpack(x, values);
    load(weights, norm);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      square = fmaf(values[e], values[e], square);
      values[e] *= norm[e];
    }
    x = pack(values);
  }

  // all: [kWarps, kTokens, kPitch] sums, then [kWarps, kTokens] sums of squares.
  __device__ void store_sums(float* all) {
    float* own = all + warp * Tile::kTokens * Tile::kPitch;
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        float* to = own + (8 * n + 2 * i) * Tile::kPitch + 16 * m + g;
        to[0] = sums[m][n][0], to[Tile::kPitch] = sums[m][n][1];
        to[8] = sums[m][n][2], to[Tile::kPitch + 8] = sums[m][n][3];
      }
      if constexpr (kNorm) {
        float square = squares[n];
        square += __shfl_xor_sync(0xffffffffu, square, 1);
        square += __shfl_xor_sync(0xffffffffu, square, 2);
        if (i == 0) all[Tile::kWarps * Tile::kTokens * Tile::kPitch + warp * Tile::kTokens + 8 * n + g] = square;
      }
    }
    clear();
  }
};

// Where the parts of a tile's sums lie: of a block's warps in shared memory, or of several blocks in global memory.
template <class Tile>
struct WarpParts {
  const float* all;
  __device__ float sum(int token, int row) const {
    float total = all[token * Tile::kPitch + row];
#pragma unroll
    for (int w = 1; w < Tile::kWarps; ++w) total += all[(w * Tile::kTokens + token) * Tile::kPitch + row];
    return total;
  }
  __device__ float square(int token) const {
    const float* squares = all + Tile::kWarps * Tile::kTokens * Tile::kPitch;
    float total = squares[token];
#pragma unroll
    for (int w = 1; w < Tile::kWarps; ++w) total += squares[w * Tile::kTokens + token];
    return total;
  }
};

// A block has two places: [0] for the tile it begins and others end, [1] for a tile that an earlier block began.
template <class Tile>
struct BlockParts {
  const float* parts;
  int64_t first, last;  // blocks
  __device__ float total(int index) const {
    float sum = __ldcg(parts + 2 * first * Tile::kPartFloats + index);
    for (int64_t block = first + 1; block <= last; ++block)
      sum += __ldcg(parts + (2 * block + 1) * Tile::kPartFloats + index);
    return sum;
  }
  __device__ float sum(int token, int row) const { return total(token * Tile::kRows + row); }
  __device__ float square(int token) const { return total(Tile::kTokens * Tile::kRows + token); }
};

__device__ inline void store_feature(const SkinnyArgs& args, int token, int feature, float value) {
  const int64_t at = token * args.out_stride + feature;
  if (args.out_is_float) {
    static_cast<float*>(args.out)[at] = value;
    return;
  }
  bf16* out = static_cast<bf16*>(args.out) + at;
  if (args.epilogue == SkinnyEpilogue::add) value += __bfloat162float(*out);
  *out = __float2bfloat16_rn(value);
}

// The epilogue of a tile whose parts are complete.
template <class Tile, bool kNorm, class Parts>
__device__ void finish_tile(const SkinnyArgs& args, int tile, const Parts& parts) {
  for (int e = int(threadIdx.x); e < args.tokens * args.tile_features; e += Tile::kThreads) {
    const int token = e / args.tile_features, f = e % args.tile_features, feature = tile * args.tile_features + f;
    if (feature >= args.features) continue;
    const float scale =
        kNorm ? 1.0f / sqrtf(parts.square(token) / float(args.in_features) + args.eps) : 1.0f;
    const auto biased = [&](int row, int n) {
      const float sum = parts.sum(token, row) * scale;
      return args.bias ? sum + __bfloat162float(args.bias[n]) : sum;
    };
    if (args.epilogue != SkinnyEpilogue::gated) {
      store_feature(args, token, feature, biased(f, feature));
      continue;
    }
    const int row = f / 8 * 16 + f % 8;
    const float gate = biased(row, feature), up = biased(row + 8, args.features + feature);
    store_feature(args, token, feature, up * (args.gelu ? GeluTanh()(gate) : Silu()(gate)));
  }
}

// True in the block that arrives last of `blocks`; then all their parts are visible. All threads of the block call it.
__device__ inline bool last_to_arrive(uint32_t* arrivals, uint32_t blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrivals, 1u) == blocks - 1;
    if (last) *arrivals = 0;  // for the next launch
    __threadfence();
  }
  __syncthreads();
  return last;
}

// A tile of which this block has some k, others the rest.
template <class Tile, bool kNorm>
__device__ void share_tile(const SkinnyArgs& args, int tile, const WarpParts<Tile>& own) {
  const int64_t unit = int64_t(tile) * args.steps;
  const int64_t first = block_of_unit(args, unit), last = block_of_unit(args, unit + args.steps - 1);
  float* part = args.parts + (2 * int64_t(blockIdx.x) + (blockIdx.x != first)) * Tile::kPartFloats;
  for (int e = int(threadIdx.x); e < args.tokens * Tile::kRows; e += Tile::kThreads)
    part[e] = own.sum(e / Tile::kRows, e % Tile::kRows);
  if (kNorm && int(threadIdx.x) < args.tokens)
    part[Tile::kTokens * Tile::kRows + threadIdx.x] = own.square(int(threadIdx.x));
  if (last_to_arrive(args.arrivals + first, uint32_t(last - first + 1)))
    finish_tile<Tile, kNorm>(args, tile, BlockParts<Tile>{args.parts, first, last});
}

}  // namespace trireme::cuda
