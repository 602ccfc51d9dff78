#pragma once
// The kernel of skinny_mma.h. Weights are the 16-row operand of the tensor-core instruction, tokens its 8 columns.
//
// The order of k inside a dot product is free, so lane (g, i) = (lane / 4, lane % 4) takes 16 contiguous bytes at
// k = 8 i of a block of 32 from weight rows g and g + 8 and from token g: elements 0..3 feed one instruction, 4..7 the
// next. A lane reads back from shared memory only what it copied there itself, so the pipeline needs no barrier: shared
// memory is a deep register file.
//
// Work is the list of all (tile of weight rows, step of k), cut evenly over the blocks; the warps of a block split each
// step's k. Where a tile's k range is shared by several blocks, the last of them to arrive adds the parts in k order.

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/gated_activation.cuh"
#include "kernels/cuda/skinny_mma.h"

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

// One warp's pipeline: what it copies, and the sums it makes.
template <class Tile, bool kNorm>
struct SkinnyWarp {
  static constexpr int kM = Tile::kRowTiles, kN = Tile::kTokenTiles;
  const SkinnyArgs& args;
  char* ring;
  int warp, g, i;
  float sums[kM][kN][4];
  float squares[kN];

  __device__ SkinnyWarp(const SkinnyArgs& a, char* shared)
      : args(a), warp(int(threadIdx.x) / kWarpSize), g(int(threadIdx.x) % kWarpSize / 4), i(int(threadIdx.x) % 4) {
    ring = shared + warp * Tile::kStages * Tile::kBlocks * Tile::block_bytes(kNorm);
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
  __device__ char* block_of(int stage, int b) const {
    return ring + (stage * Tile::kBlocks + b) * Tile::block_bytes(kNorm);
  }
  __device__ uint4* piece(char* block, int p) const {
    return reinterpret_cast<uint4*>(block + p * kWarpSize * 16) + (4 * g + i);
  }
  __device__ int first_k(const SkinnyCursor& at, int b) const {
    return at.step * Tile::kStep + (warp * Tile::kBlocks + b) * 32;
  }

  // Constants: these copies may run before the previous kernel has ended.
  __device__ void copy_weights(const SkinnyCursor& at, int stage) const {
    const int feature = at.tile * args.tile_features + g;
    const bf16* row = args.weight + int64_t(feature) * args.in_features;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const bool in_rows = feature + m * args.row_tile_features + half * args.half_features < args.features;
        const bf16* from = in_rows ? row + m * args.row_tile_step + half * args.half_step : args.weight;
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; ++b) {
          const int k = first_k(at, b) + 8 * i;
          const bool valid = in_rows && k < args.in_features;
          copy_16_async_of_line(piece(block_of(stage, b), 2 * m + half), valid ? from + k : args.weight, valid);
        }
      }
    }
    if constexpr (kNorm) {
      const int lane = 4 * g + i;
      if (lane < 8 * Tile::kBlocks) {
        const int b = lane / 8, k = first_k(at, b) + 4 * (lane % 8);
        const bool valid = k < args.in_features;
        char* to = block_of(stage, b) + Tile::kPieces * kWarpSize * 16 + lane % 8 * 16;
        copy_16_async(to, valid ? args.norm + k : args.norm, valid);
      }
    }
  }
  // Columns of tokens that do not exist hold anything: no other column sees them.
  __device__ void copy_x(const SkinnyCursor& at, int stage) const {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      const int token = 8 * n + g;
      if (token >= args.tokens) continue;
      const bf16* from = args.x + token * args.x_stride;
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; ++b) {
        const int k = first_k(at, b) + 8 * i;
        const bool valid = k < args.in_features;
        copy_16_async(piece(block_of(stage, b), 2 * kM + n), valid ? from + k : args.x, valid);
      }
    }
  }

  // x times the norm's weights; the row's scale is applied to the sums.
  __device__ void apply_norm(uint4& x, float& square, const char* block) const {
    const auto* weights = reinterpret_cast<const float*>(block + Tile::kPieces * kWarpSize * 16) + 8 * i;
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

  __device__ void multiply(int stage) {
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; ++b) {
      char* block = block_of(stage, b);
      uint4 w[kM][2], x[kN];
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        x[n] = *piece(block, 2 * kM + n);
        if constexpr (kNorm) apply_norm(x[n], squares[n], block);
      }
#pragma unroll
      for (int m = 0; m < kM; ++m) w[m][0] = *piece(block, 2 * m), w[m][1] = *piece(block, 2 * m + 1);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const uint32_t a[4] = {w[m][0].x, w[m][1].x, w[m][0].y, w[m][1].y};
#pragma unroll
        for (int n = 0; n < kN; ++n) multiply_add_16x8x16(sums[m][n], a, x[n].x, x[n].y);
      }
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const uint32_t a[4] = {w[m][0].z, w[m][1].z, w[m][0].w, w[m][1].w};
#pragma unroll
        for (int n = 0; n < kN; ++n) multiply_add_16x8x16(sums[m][n], a, x[n].z, x[n].w);
      }
    }
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

// True in the block that arrives last of `blocks`; then all their parts are visible. All threads call it.
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

template <class Tile, bool kNorm>
__global__ __launch_bounds__(Tile::kThreads, 2) void skinny_mma_kernel(const __grid_constant__ SkinnyArgs args) {
  extern __shared__ __align__(128) char shared[];
  constexpr int kAhead = Tile::kStages - 1;
  auto* all =
      reinterpret_cast<float*>(shared + Tile::kWarps * Tile::kStages * Tile::kBlocks * Tile::block_bytes(kNorm));
  SkinnyWarp<Tile, kNorm> warp(args, shared);
  const int64_t begin = first_unit(args, blockIdx.x), end = first_unit(args, int64_t(blockIdx.x) + 1);
  const int count = int(end - begin);
  SkinnyCursor now{int(begin / args.steps), int(begin % args.steps)}, next = now;

  for (int s = 0; s < kAhead; ++s) {
    if (s < count) warp.copy_weights(next, s);
    end_copy_group();
    next.advance(args.steps);
  }
  let_next_kernel_start();
  wait_for_previous_kernel();
  next = now;
  for (int s = 0; s < kAhead; ++s) {
    if (s < count) warp.copy_x(next, s);
    end_copy_group();
    next.advance(args.steps);
  }

  int stage = 0, free_stage = kAhead, first_step = now.step;
  for (int u = 0; u < count; ++u) {
    wait_for_copy_groups<kAhead - 1>();
    if constexpr (kNorm) __syncwarp();  // eight lanes copied the norm's weights for all
    if (u + kAhead < count) {
      warp.copy_weights(next, free_stage);
      warp.copy_x(next, free_stage);
    }
    end_copy_group();
    next.advance(args.steps);
    warp.multiply(stage);
    free_stage = stage;
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;

    const bool tile_ends = now.step + 1 == args.steps;
    if (tile_ends || u + 1 == count) {
      warp.store_sums(all);
      __syncthreads();
      const WarpParts<Tile> own{all};
      if (tile_ends && first_step == 0)
        finish_tile<Tile, kNorm>(args, now.tile, own);
      else
        share_tile<Tile, kNorm>(args, now.tile, own);
      __syncthreads();  // before the next tile's sums
      first_step = 0;
    }
    now.advance(args.steps);
  }
  wait_for_copy_groups<0>();
}

}  // namespace trireme::cuda
