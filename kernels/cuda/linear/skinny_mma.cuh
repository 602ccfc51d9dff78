#pragma once
// The kernel of skinny_mma.h for all its token counts and GPUs. Weights are the 16-row operand of the tensor-core
// instruction, tokens its 8 columns.
//
// The order of k inside a dot product is free, so lane (g, i) = (lane / 4, lane % 4) takes 16 contiguous bytes at
// k = 8 i of a block of 32 from weight rows g and g + 8 and from token g: elements 0..3 feed one instruction, 4..7 the
// next. A lane reads back from shared memory only what it copied there itself, so the pipeline needs no barrier: shared
// memory is a deep register file.

#include "kernels/cuda/linear/skinny_parts.cuh"

namespace trireme::cuda {

// One warp's pipeline.
template <class Tile, bool kNorm>
struct SkinnyWarp : SkinnySums<Tile, kNorm> {
  using SkinnySums<Tile, kNorm>::kM, SkinnySums<Tile, kNorm>::kN;
  using SkinnySums<Tile, kNorm>::warp, SkinnySums<Tile, kNorm>::g, SkinnySums<Tile, kNorm>::i;
  using SkinnySums<Tile, kNorm>::sums, SkinnySums<Tile, kNorm>::squares;
  const SkinnyArgs& args;
  char* ring;

  __device__ SkinnyWarp(const SkinnyArgs& a, char* shared) : args(a) {
    ring = shared + warp * Tile::kStages * Tile::kBlocks * Tile::block_bytes(kNorm);
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

  __device__ void multiply(int stage) {
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; ++b) {
      char* block = block_of(stage, b);
      uint4 w[kM][2], x[kN];
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        x[n] = *piece(block, 2 * kM + n);
        if constexpr (kNorm) {
          const auto* norm = reinterpret_cast<const float*>(block + Tile::kPieces * kWarpSize * 16) + 8 * i;
          this->apply_norm(x[n], squares[n], norm);
        }
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
};

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
