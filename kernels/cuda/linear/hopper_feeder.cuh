#pragma once
// How few tokens' x comes into the ring of hopper_linear.cuh: some warps load it, apply the norm where there is one,
// and store it as the products want it. Tensor-map copies of x stand in line behind those of the ring's weights.
//
// A norm: x times the norm's weights, rounded to bf16, goes into the products; 1 / rms of its row scales a sum at the
// end. Blocks that split a tile's k send each other their share of the squares along with the sums.

#include "kernels/cuda/linear/hopper_tile.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// 16 bytes that another kernel has written: past L1. Stays where it stands: behind the wait for that kernel.
__device__ inline uint4 load_written(const bf16* from) {
  uint4 value;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from)
               : "memory");
  return value;
}
__device__ inline void store_shared(uint32_t to, const uint4& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}
__device__ inline float load_shared_float(uint32_t from) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from) : "memory");
  return value;
}
__device__ inline void store_shared_float(uint32_t to, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(value) : "memory");
}
// What this thread wrote to shared memory is seen by products that are begun behind a barrier.
__device__ inline void order_shared_memory() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// One warp of them. A stage's x has kShares parts, of a panel each; a warp takes the same one of every
// kFeeders / kShares-th step. Lane (row, piece) has 16 bytes of tokens row, row + 4, ...
template <class Tile, bool kNorm>
struct HopperFeeder {
  static constexpr int kRowsAtOnce = 4, kLoads = Tile::kTokens / kRowsAtOnce;
  static constexpr int kStride = Tile::kFeeders / Tile::kShares;
  static_assert(Tile::kFeeders % Tile::kShares == 0);

  const HopperArgs& args;
  const HopperRing& ring;
  const HopperWork& work;
  int warp, lane = int(threadIdx.x) % kWarpSize;
  int piece = lane % 8, panel, token;  // the first token
  uint4 bits[kLoads];
  float norm[8];
  float squares[kLoads] = {};

  __device__ HopperFeeder(const HopperArgs& a, const HopperRing& r, const HopperWork& w, int number)
      : args(a), ring(r), work(w), warp(number) {
    panel = warp % Tile::kShares, token = lane / 8;
  }

  __device__ void run() {
    RingPlace place;
    int step = work.begin + warp / Tile::kShares;
    place.advance(warp / Tile::kShares, args.stages);
    if (step < work.end) load_step(step);
    for (; step < work.end; step += kStride) {
      if (step - work.begin >= args.stages)
        wait_for_phase(ring.empty + uint32_t(place.stage) * 8, place.parity ^ 1);
      store_step(place.stage);
      if (step + kStride < work.end) load_step(step + kStride);  // on its way while this one's place is waited for
      order_shared_memory();
      __syncwarp();
      if (lane == 0) arrive(ring.fed + uint32_t(place.stage) * 8);
      // As one that has used the place, too: the warp that fills it next comes directly behind these stores, not only by
      // way of those that multiply, which racecheck does not follow.
      arrive(ring.empty + uint32_t(place.stage) * 8);
      place.advance(kStride, args.stages);
    }
    if constexpr (kNorm) store_squares();
  }

 private:
  // What lies beyond k is zero, as the weights there are. Columns of tokens that do not exist hold anything.
  __device__ void load_step(int step) {
    const int k = step * Tile::kStep + panel * kPanelColumns + 8 * piece;
    const bool inside = k < args.in_features;
    const bf16* from = args.fed_x + token * args.x_stride + k;
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      bits[l] = make_uint4(0, 0, 0, 0);
      if (inside && token + l * kRowsAtOnce < args.tokens) bits[l] = load_written(from);
      from += kRowsAtOnce * args.x_stride;
    }
    if constexpr (kNorm) load(args.norm + (inside ? k : 0), norm);
  }
  __device__ void store_step(int stage) {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      const int row = token + l * kRowsAtOnce;
      if constexpr (kNorm) scale(bits[l], squares[l]);
      const uint32_t at = uint32_t(panel * Tile::kTokenPanelBytes + row * kPanelRowBytes + (piece ^ (row % 8)) * 16);
      if (row < args.tokens)
        store_shared(ring.stages + uint32_t(stage * Tile::kStageBytes + Tile::kWeightBytes) + at, bits[l]);
    }
  }
  __device__ void scale(uint4& x, float& square) const {
    float values[8];
    unpack(x, values);
#pragma unroll
    for (int e = 0; e < 8; ++e) square = fmaf(values[e], values[e], square), values[e] *= norm[e];
    x = pack(values);
  }
  // [kFeeders, kTokens] behind what peers send.
  __device__ void store_squares() const {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      float sum = squares[l];
      for (int offset = 1; offset < 8; offset *= 2) sum += __shfl_xor_sync(~0u, sum, offset);
      const int at = (args.splits + warp) * Tile::kTokens + token + l * kRowsAtOnce;
      if (piece == 0) store_shared_float(ring.squares + uint32_t(at) * 4, sum);
    }
  }
};

// The sums of squares on their way to the threads that finish sums. `ring.squares`: [splits, kTokens] from the blocks
// of the cluster, then [kFeeders, kTokens] of this one.
template <class Tile>
struct HopperSquares {
  const HopperArgs& args;
  const HopperRing& ring;
  int split;

  // What a block is sent.
  __device__ static uint32_t sent_bytes(int splits) { return uint32_t((splits - 1) * Tile::kSquareBytes); }
  // To the blocks that finish some of the tile.
  __device__ void send() const {
    const int token = 4 * int(threadIdx.x);
    if (token >= Tile::kTokens) return;
    const float totals[4] = {own(token), own(token + 1), own(token + 2), own(token + 3)};
    for (int to = 0; to < args.splits && Tile::first(to, args.splits) < Tile::kColumnTiles; ++to)
      if (to != split) send_16(peer_address(place(split, token), to), totals, peer_address(ring.sent, to));
  }
  // 1 / rms of a token's row, once all squares are there.
  __device__ float row_scale(int token) const {
    float total = 0;
    for (int from = 0; from < args.splits; ++from)
      total += from == split ? own(token) : load_shared_float(place(from, token));
    return 1.0f / sqrtf(total / float(args.in_features) + args.eps);
  }

 private:
  __device__ uint32_t place(int row, int token) const {
    return ring.squares + uint32_t(row * Tile::kTokens + token) * 4;
  }
  __device__ float own(int token) const {
    float total = 0;
#pragma unroll
    for (int f = 0; f < Tile::kFeeders; ++f) total += load_shared_float(place(args.splits + f, token));
    return total;
  }
};

#endif

}  // namespace trireme::cuda
