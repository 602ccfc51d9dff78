#pragma once
// The kernel of skinny_mma.h for few tokens on sm_90: one warp keeps a ring of stages in shared memory filled by bulk
// copies of long pieces of weight rows, eight warps multiply. Weights of the first stages are on their way before the
// previous kernel has ended, and the ring is filled while the sums of a tile are finished.
//
// A stage is kRows weight rows and all tokens' rows of one step of k. Warp w takes k in [w, w + 1) * 32 kBlocks of it;
// lane (g, i) takes 16 bytes at k = 8 i of a block of 32 of weight rows g and g + 8 and of token g, as in
// skinny_mma.cuh.

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/skinny_parts.cuh"

namespace trireme::cuda {

template <int kTokenTiles, int kRowTiles, int kBlocks>
struct StreamTile : SkinnyTile<kTokenTiles, kRowTiles, kBlocks, 8, 1> {
  using Base = SkinnyTile<kTokenTiles, kRowTiles, kBlocks, 8, 1>;
  static constexpr int kBlockThreads = Base::kThreads + kWarpSize;  // the last warp copies
  // Rows an odd multiple of 64 bytes apart: 16 bytes of four lanes of two rows lie in different banks.
  static constexpr int kRowPitch = 2 * Base::kStep + 64;
  static constexpr int kMaxStages = 8;
  static constexpr int kBarrierBytes = 2 * kMaxStages * 8;
  static constexpr int kFixedBytes = kBarrierBytes + Base::kSumFloats * int(sizeof(float));
  static_assert(Base::kRows <= kWarpSize && Base::kTokens <= kWarpSize && kFixedBytes % 16 == 0);

  __device__ static void sync() {
#if __CUDA_ARCH__ >= 900
    sync_threads<1, Base::kThreads>();
#endif
  }
  __host__ __device__ static constexpr int stage_bytes(int tokens, bool norm) {
    return (Base::kRows + tokens) * kRowPitch + (norm ? Base::kStep * int(sizeof(float)) : 0);
  }
  static constexpr int stages(int tokens, bool norm, int shared_limit) {
    const int fit = (shared_limit - kFixedBytes) / stage_bytes(tokens, norm);
    return fit < kMaxStages ? fit : kMaxStages;
  }
  static constexpr int shared_bytes(int tokens, bool norm, int stages) {
    return kFixedBytes + stages * stage_bytes(tokens, norm);
  }
};

#if __CUDA_ARCH__ >= 900

// Shared memory: barriers [2, kMaxStages] (full, empty), sums, stages.
template <class Tile, bool kNorm>
struct StreamRing {
  const SkinnyArgs& args;
  uint32_t base;
  int stage_bytes;

  __device__ StreamRing(const SkinnyArgs& a, const char* shared)
      : args(a), base(shared_address(shared)), stage_bytes(Tile::stage_bytes(a.tokens, kNorm)) {}
  __device__ uint32_t full(int stage) const { return base + uint32_t(stage) * 8; }
  __device__ uint32_t empty(int stage) const { return base + uint32_t(Tile::kMaxStages + stage) * 8; }
  __device__ int offset(int stage) const { return Tile::kFixedBytes + stage * stage_bytes; }
  __device__ int x_offset() const { return Tile::kRows * Tile::kRowPitch; }
  __device__ int norm_offset() const { return (Tile::kRows + args.tokens) * Tile::kRowPitch; }
};

// The warp that copies.
template <class Tile, bool kNorm>
struct StreamCopier {
  const SkinnyArgs& args;
  const StreamRing<Tile, kNorm>& ring;
  int lane;
  uint64_t policy;

  __device__ StreamCopier(const SkinnyArgs& a, const StreamRing<Tile, kNorm>& r)
      : args(a), ring(r), lane(int(threadIdx.x) % kWarpSize), policy(evict_first_policy()) {}

  __device__ void init_barriers() const {
    if (lane == 0) {
      for (int s = 0; s < args.stages; ++s) init_barrier(ring.full(s), 1), init_barrier(ring.empty(s), Tile::kWarps);
      publish_barriers();
    }
    __syncwarp();
  }
  __device__ static int first_k(const SkinnyCursor& at) { return at.step * Tile::kStep; }
  __device__ uint32_t row_bytes(const SkinnyCursor& at) const {
    return 2u * uint32_t(min(Tile::kStep, args.in_features - first_k(at)));
  }

  // Constants: these copies may run before the previous kernel has ended. Expects the bytes of copy_x as well.
  __device__ void copy_weights(const SkinnyCursor& at, int stage) const {
    const uint32_t bytes = row_bytes(at), full = ring.full(stage), to = ring.base + uint32_t(ring.offset(stage));
    if (lane == 0) arrive_expecting(full, bytes * uint32_t(Tile::kRows + args.tokens + (kNorm ? 2 : 0)));
    __syncwarp();
    if (lane < Tile::kRows) {
      const int m = lane / 16, half = lane / 8 % 2, first = at.tile * args.tile_features + lane % 8;
      const bool in_rows = first + m * args.row_tile_features + half * args.half_features < args.features;
      // Rows that do not exist hold anything: no other row sees them.
      const bf16* row = args.weight + (in_rows ? int64_t(first) * args.in_features + m * args.row_tile_step +
                                                     half * args.half_step
                                               : int64_t(0));
      bulk_copy(to + uint32_t(lane * Tile::kRowPitch), row + first_k(at), bytes, full, policy);
    }
    if (kNorm && lane == 0) bulk_copy(to + uint32_t(ring.norm_offset()), args.norm + first_k(at), 2 * bytes, full);
  }
  __device__ void copy_x(const SkinnyCursor& at, int stage) const {
    if (lane < args.tokens)
      bulk_copy(ring.base + uint32_t(ring.offset(stage) + ring.x_offset() + lane * Tile::kRowPitch),
                args.x + lane * args.x_stride + first_k(at), row_bytes(at), ring.full(stage));
  }

  __device__ void copy_ahead(SkinnyCursor at, int ahead) const {
    for (int s = 0; s < ahead; ++s) copy_weights(at, s), at.advance(args.steps);
  }
  // All the rest, once x may be read.
  __device__ void run(SkinnyCursor at, int ahead, int count) const {
    order_bulk_copies();
    for (int s = 0; s < ahead; ++s) copy_x(at, s), at.advance(args.steps);
    int stage = 0;
    uint32_t parity = 0;
    for (int u = ahead; u < count; ++u) {
      wait_for_phase(ring.empty(stage), parity);
      copy_weights(at, stage);
      copy_x(at, stage);
      at.advance(args.steps);
      if (++stage == args.stages) stage = 0, parity ^= 1;
    }
  }
};

// A warp that multiplies.
template <class Tile, bool kNorm>
struct StreamWarp : SkinnySums<Tile, kNorm> {
  using SkinnySums<Tile, kNorm>::kM, SkinnySums<Tile, kNorm>::kN;
  using SkinnySums<Tile, kNorm>::warp, SkinnySums<Tile, kNorm>::g, SkinnySums<Tile, kNorm>::i;
  using SkinnySums<Tile, kNorm>::sums, SkinnySums<Tile, kNorm>::squares;
  static constexpr int kB = Tile::kBlocks;
  const SkinnyArgs& args;
  const StreamRing<Tile, kNorm>& ring;
  const char* shared;
  int own_k;  // of this lane in a step

  __device__ StreamWarp(const SkinnyArgs& a, const StreamRing<Tile, kNorm>& r, const char* s)
      : args(a), ring(r), shared(s), own_k(warp * kB * 32 + 8 * i) {}

  // kWhole: the step has all its k. Past the end of the rows shared memory holds rubbish: taken for zeros.
  template <bool kWhole>
  __device__ void multiply(int stage, int left) {
    const char* from = shared + ring.offset(stage) + 2 * own_k;
    uint4 w[kB][kM][2], x[kB][kN];
#pragma unroll
    for (int b = 0; b < kB; ++b) {
      const bool valid = kWhole || own_k + 32 * b < left;
      const auto piece = [&](int offset) {
        return valid ? *reinterpret_cast<const uint4*>(from + offset + 64 * b) : make_uint4(0, 0, 0, 0);
      };
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        w[b][m][0] = piece((16 * m + g) * Tile::kRowPitch);
        w[b][m][1] = piece((16 * m + 8 + g) * Tile::kRowPitch);
      }
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        // Columns of tokens that do not exist repeat the last: no other column sees them.
        x[b][n] = piece(ring.x_offset() + min(8 * n + g, args.tokens - 1) * Tile::kRowPitch);
        if constexpr (kNorm) {
          const char* step = shared + ring.offset(stage) + ring.norm_offset();
          if (valid) this->apply_norm(x[b][n], squares[n], reinterpret_cast<const float*>(step) + own_k + 32 * b);
        }
      }
    }
    __syncwarp();
    if (g == 0 && i == 0) arrive(ring.empty(stage));
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const uint4 low = w[b][m][0], high = w[b][m][1];
        const uint32_t first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int n = 0; n < kN; ++n) {
          multiply_add_16x8x16(sums[m][n], first, x[b][n].x, x[b][n].y);
          multiply_add_16x8x16(sums[m][n], second, x[b][n].z, x[b][n].w);
        }
      }
    }
  }

  __device__ void run(SkinnyCursor now, int count, float* all) {
    int stage = 0, first_step = now.step;
    uint32_t parity = 0;
    for (int u = 0; u < count; ++u) {
      wait_for_phase(ring.full(stage), parity);
      const int left = args.in_features - now.step * Tile::kStep;
      if (left >= Tile::kStep)
        multiply<true>(stage, left);
      else
        multiply<false>(stage, left);
      if (++stage == args.stages) stage = 0, parity ^= 1;

      const bool tile_ends = now.step + 1 == args.steps;
      if (tile_ends || u + 1 == count) {
        Tile::sync();  // the last tile's sums are read
        this->store_sums(all);
        Tile::sync();
        const WarpParts<Tile> own{all};
        if (tile_ends && first_step == 0)
          finish_tile<Tile, kNorm>(args, now.tile, own);
        else
          share_tile<Tile, kNorm>(args, now.tile, own);
        first_step = 0;
      }
      now.advance(args.steps);
    }
  }
};

#endif

template <class Tile, bool kNorm>
__global__ __launch_bounds__(Tile::kBlockThreads, 2) void skinny_stream_kernel(
    const __grid_constant__ SkinnyArgs args) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) char shared[];
  const StreamRing<Tile, kNorm> ring(args, shared);
  const int64_t begin = first_unit(args, blockIdx.x);
  const int count = int(first_unit(args, int64_t(blockIdx.x) + 1) - begin), ahead = min(count, args.stages);
  const SkinnyCursor first{int(begin / args.steps), int(begin % args.steps)};
  const bool copies = threadIdx.x >= Tile::kThreads;
  const StreamCopier<Tile, kNorm> copier(args, ring);
  if (copies) {
    copier.init_barriers();
    copier.copy_ahead(first, ahead);
    let_next_kernel_start();
  }
  __syncthreads();  // the barriers are made
  wait_for_previous_kernel();
  if (copies) {
    copier.run(first, ahead, count);
  } else {
    StreamWarp<Tile, kNorm> warp(args, ring, shared);
    warp.run(first, count, reinterpret_cast<float*>(shared + Tile::kBarrierBytes));
  }
#endif
}

}  // namespace trireme::cuda
