#pragma once
// The RMSNorm of a linear layer's input inside hopper_linear.cuh. The threads that multiply scale what a stage has of x
// by the norm's weights, in place and rounded to bf16, and add up its squares; 1 / rms of a row scales its sums at the
// end. Blocks that split a tile's k send each other their share of the squares along with the sums.

#include "kernels/cuda/hopper_tile.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// 16 bytes at a shared address.
__device__ inline uint4 load_shared(uint32_t from) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(from)
               : "memory");
  return value;
}
__device__ inline void store_shared(uint32_t to, const uint4& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}
// What this thread wrote to shared memory is seen by products begun behind a barrier of the writers.
__device__ inline void order_shared_memory() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

template <class Tile>
struct HopperNorm {
  // Eight threads take a row of a panel, 16 bytes each; all threads take kRowsAtOnce rows, panel after panel.
  static constexpr int kPieces = kPanelRowBytes / 16, kRowsAtOnce = Tile::kConsumers / kPieces;
  static constexpr int kRows = Tile::kPanels * Tile::kTokens;
  static constexpr int kPasses = (kRows + kRowsAtOnce - 1) / kRowsAtOnce;
  static constexpr int kSums = Tile::kTokens > kRowsAtOnce ? Tile::kTokens / kRowsAtOnce : 1;     // tokens of a thread
  static constexpr int kParts = Tile::kTokens < kRowsAtOnce ? kRowsAtOnce / Tile::kTokens : 1;  // of a token's sum
  static constexpr int kOwnFloats = kParts * Tile::kTokens;

  const HopperArgs& args;
  const HopperRing& ring;
  float* own;      // shared, [kParts, kTokens]: this block's sums of squares
  uint32_t peers;  // shared address, [splits, kTokens]: those of the other blocks of the cluster
  float squares[kSums] = {};

  __device__ HopperNorm(const HopperArgs& a, const HopperRing& r, float* o) : args(a), ring(r), own(o) {
    peers = ring.received + uint32_t(args.splits * Tile::share(args.splits) * Tile::kConsumers * 16);
  }

  // All threads that multiply, before they do. Everything is loaded before anything is stored: a stage is short.
  __device__ void apply(int step, int stage) {
    const int piece = int(threadIdx.x) % kPieces, row = int(threadIdx.x) / kPieces;
    const int column = 8 * (piece ^ (row % 8));  // of its panel; rows of a thread are equal modulo 8
    const uint32_t x = ring.stages + uint32_t(stage * Tile::kStageBytes + Tile::kPanels * Tile::kWeightPanelBytes +
                                              row * kPanelRowBytes + piece * 16);
    const uint32_t weights = ring.norms + uint32_t(stage * Tile::kNormBytes + column * 4);
    uint4 bits[kPasses];
    float norm[kPasses / kSums][8];
    bool valid[kPasses];
#pragma unroll
    for (int j = 0; j < kPasses; ++j) {
      const int at = row + kRowsAtOnce * j, panel = at / Tile::kTokens;
      valid[j] = at < kRows && at % Tile::kTokens < args.tokens &&
                 step * Tile::kStep + panel * kPanelColumns + column < args.in_features;
      if (!valid[j]) continue;
      bits[j] = load_shared(x + uint32_t(j * kRowsAtOnce * kPanelRowBytes));
      if (j % kSums == 0) load_norm(weights + uint32_t(panel * kPanelColumns * 4), norm[j / kSums]);
    }
#pragma unroll
    for (int j = 0; j < kPasses; ++j) {
      if (!valid[j]) continue;
      float values[8];
      unpack(bits[j], values);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        squares[j % kSums] = fmaf(values[e], values[e], squares[j % kSums]);
        values[e] *= norm[j / kSums][e];
      }
      store_shared(x + uint32_t(j * kRowsAtOnce * kPanelRowBytes), pack(values));
    }
    __syncwarp();
    order_shared_memory();
    sync_threads<1, Tile::kConsumers>();
  }

  // All threads that multiply, after the last step.
  __device__ void finish_squares() {
    const int row = int(threadIdx.x) / kPieces;
#pragma unroll
    for (int s = 0; s < kSums; ++s) {
      float sum = squares[s];
      for (int offset = 1; offset < kPieces; offset *= 2) sum += __shfl_xor_sync(~0u, sum, offset);
      const int token = row + kRowsAtOnce * s;
      if (threadIdx.x % kPieces == 0) own[token] = sum;
    }
    sync_threads<1, Tile::kConsumers>();
  }
  // Bytes that a block of a split tile is sent.
  __device__ static uint32_t sent_bytes(int splits) { return uint32_t((splits - 1) * Tile::kTokens) * 4; }
  // To the blocks that finish some of the tile.
  __device__ void send_squares(int split) const {
    const int token = 4 * int(threadIdx.x);
    if (token >= Tile::kTokens) return;
    const float totals[4] = {own_total(token), own_total(token + 1), own_total(token + 2), own_total(token + 3)};
    const uint32_t to = peers + uint32_t(split * Tile::kTokens + token) * 4;
    for (int peer = 0; peer < args.splits && Tile::first(peer, args.splits) < Tile::kColumnTiles; ++peer)
      if (peer != split) send_16(peer_address(to, peer), totals, peer_address(ring.parts, peer));
  }
  // 1 / rms of a token's row, once all squares are there.
  __device__ float row_scale(int token, int split) const {
    float total = 0;
    for (int from = 0; from < args.splits; ++from) {
      total += from == split ? own_total(token) : load_float(peers + uint32_t(from * Tile::kTokens + token) * 4);
    }
    return 1.0f / sqrtf(total / float(args.in_features) + args.eps);
  }

 private:
  __device__ static float load_float(uint32_t from) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from) : "memory");
    return value;
  }
  __device__ float own_total(int token) const {
    float total = 0;
#pragma unroll
    for (int p = 0; p < kParts; ++p) total += own[p * Tile::kTokens + token];
    return total;
  }
  __device__ static void load_norm(uint32_t from, float (&norm)[8]) {
    const uint4 low = load_shared(from), high = load_shared(from + 16);
    const uint32_t all[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int e = 0; e < 8; ++e) norm[e] = __uint_as_float(all[e]);
  }
};

#endif

}  // namespace trireme::cuda
