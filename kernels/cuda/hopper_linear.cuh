#pragma once
// The kernel of hopper_linear.h. Weight rows are the 64-row operand of the warpgroup product, tokens its columns:
// sums[row, token] in registers. A block is kGroups warpgroups with 64 rows each and one warp that copies; a stage is
// kPanels panels of the tile's weight rows, then as many of all tokens' rows. Of gated layers a tile takes eight gates,
// their eight ups, and so on, so that a thread has both.
//
// Where the blocks of a cluster split a tile's k, each sends the others their share of its sums (some of the tokens),
// adds what it gets in the order of k and finishes its share. The parts come into the ring, once nobody needs it as
// one.

#include <cuda.h>

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/common/wgmma_narrow.cuh"
#include "kernels/cuda/gated_activation.cuh"
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
  int64_t out_stride;
  int tokens, features, steps, tile_features, stages;
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

struct HopperRing {
  uint32_t stages, full, empty, parts;  // shared addresses: of stages and of barriers
};

template <class Tile>
struct HopperCopier {
  const HopperArgs& args;
  const HopperRing& ring;
  const HopperWork& work;
  uint64_t policy = evict_first_policy();

  __device__ void copy_weights(int step, int stage) const {
    const uint32_t full = ring.full + uint32_t(stage) * 8;
    arrive_expecting(full, Tile::kStageBytes);
#pragma unroll
    for (int p = 0; p < Tile::kPanels; ++p) {
      const uint32_t to = ring.stages + uint32_t(stage * Tile::kStageBytes + p * Tile::kWeightPanelBytes);
      const int k = step * Tile::kStep + p * kPanelColumns;
      if (args.epilogue == SkinnyEpilogue::gated)
        copy_box(to, &args.weights, k, 0, 0, work.tile * Tile::kRows / 16, full, policy);
      else
        copy_box(to, &args.weights, k, work.tile * Tile::kRows, full, policy);
    }
  }
  __device__ void copy_x(int step, int stage) const {
#pragma unroll
    for (int p = 0; p < Tile::kPanels; ++p)
      copy_box(ring.stages + uint32_t(stage * Tile::kStageBytes + Tile::kPanels * Tile::kWeightPanelBytes +
                                      p * Tile::kTokenPanelBytes),
               &args.x, step * Tile::kStep + p * kPanelColumns, 0, ring.full + uint32_t(stage) * 8);
  }
  // Constants: these copies may run before the previous kernel has ended. Returns for how many stages.
  __device__ int copy_ahead() const {
    const int ahead = min(args.stages, work.end - work.begin);
    for (int s = 0; s < ahead; ++s) copy_weights(work.begin + s, s);
    return ahead;
  }
  // All the rest, once x may be read.
  __device__ void run(int ahead) const {
    order_bulk_copies();
    for (int s = 0; s < ahead; ++s) copy_x(work.begin + s, s);
    int stage = 0;
    uint32_t parity = 0;
    for (int step = work.begin + ahead; step < work.end; ++step) {
      wait_for_phase(ring.empty + uint32_t(stage) * 8, parity);
      copy_weights(step, stage);
      copy_x(step, stage);
      if (++stage == args.stages) stage = 0, parity ^= 1;
    }
  }
};

// What a thread reads and writes of one feature and its neighbour: a token in every column tile. It steps from one to
// the next in a way that the compiler cannot see through: all addresses at once would not fit the registers.
template <typename Out>
struct HopperColumn {
  const HopperArgs& args;
  Out* at;
  int token, feature;
  __device__ HopperColumn(const HopperArgs& a, int t, int f)
      : args(a), at(static_cast<Out*>(a.out) + t * a.out_stride + f), token(t), feature(f) {}
  __device__ void step() {
    at += 8 * args.out_stride, token += 8;
    asm volatile("" : "+l"(at), "+r"(token));
  }
  __device__ bool inside() const { return token < args.tokens && feature < args.features; }
  __device__ bool whole() const { return args.pairs && feature + 1 < args.features; }
  // bf16: this feature's in the low half.
  __device__ uint32_t load() const {
    if (!inside()) return 0;
    if (whole()) return *reinterpret_cast<const uint32_t*>(at);
    return pack_bf16(float(at[0]), feature + 1 < args.features ? float(at[1]) : 0.0f);
  }
  __device__ void store(float2 values) const {
    if (!inside()) return;
    if (!whole()) {
      store_one(at, values.x);
      if (feature + 1 < args.features) store_one(at + 1, values.y);
    } else if constexpr (sizeof(Out) == 4) {
      *reinterpret_cast<float2*>(at) = values;
    } else {
      *reinterpret_cast<uint32_t*>(at) = pack_bf16(values.x, values.y);
    }
  }
};

template <class Tile>
struct HopperConsumer {
  static constexpr int kColumnTiles = Tile::kColumnTiles;
  const HopperArgs& args;
  const HopperRing& ring;
  const HopperWork& work;
  int thread = int(threadIdx.x), lane = int(threadIdx.x) % kWarpSize;
  int g = lane / 4, i = lane % 4;
  int warp = __shfl_sync(~0u, int(threadIdx.x) / kWarpSize, 0);
  int first, last;  // of the column tiles that are finished here
  float sums[kColumnTiles][4];
  uint32_t old[kColumnTiles][2];  // what is added to

  __device__ HopperConsumer(const HopperArgs& a, const HopperRing& r, const HopperWork& w) : args(a), ring(r), work(w) {
    first = Tile::first(work.split, args.splits), last = Tile::first(work.split + 1, args.splits);
  }

  __device__ void run() {
    if (args.epilogue == SkinnyEpilogue::add) load_old();
    multiply();
    if (args.splits > 1) {
      cluster_sync_relaxed();  // all rings are free for parts
      exchange();
    }
    finish();
  }

  __device__ void release(int used) const {
    if (lane == 0) arrive(ring.empty + uint32_t(used) * 8);
  }

  __device__ void multiply() {
    int stage = 0, before = -1;
    uint32_t parity = 0;
    for (int step = work.begin; step < work.end; ++step) {
      wait_for_phase(ring.full + uint32_t(stage) * 8, parity);
      const uint32_t from = ring.stages + uint32_t(stage * Tile::kStageBytes);
      begin_products();
#pragma unroll
      for (int p = 0; p < Tile::kPanels; ++p) {
        const uint64_t a = panel_descriptor(
            from + uint32_t(p * Tile::kWeightPanelBytes + warp / 4 * 64 * kPanelRowBytes), kPanelGroupBytes);
        const uint64_t b = panel_descriptor(
            from + uint32_t(Tile::kPanels * Tile::kWeightPanelBytes + p * Tile::kTokenPanelBytes), kPanelGroupBytes);
#pragma unroll
        for (int q = 0; q < 4; ++q)
          multiply_narrow(sums, advanced(a, 32 * q), advanced(b, 32 * q), p > 0 || q > 0 || step > work.begin);
      }
      end_product_group();
      wait_for_products<1>();
      if (before >= 0) release(before);
      before = stage;
      if (++stage == args.stages) stage = 0, parity ^= 1;
    }
    wait_for_products<0>();
    pin_registers(sums);
    if (before >= 0) release(before);
  }

  // Where this thread's values of a column tile lie that the block of this split sends.
  __device__ uint32_t part(int split, int column_tile) const {
    return ring.stages + uint32_t(((split * Tile::share(args.splits) + column_tile) * Tile::kConsumers + thread) * 16);
  }
  // Sends the blocks of the other splits what they finish, and adds what they sent.
  __device__ void exchange() {
    int to = 0, left = Tile::share(args.splits);
    uint32_t at = peer_address(part(work.split, 0), 0), barrier = peer_address(ring.parts, 0);
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      if (to != work.split) send_16(at, sums[n], barrier);
      at += Tile::kConsumers * 16;
      asm volatile("" : "+r"(at));
      if (--left > 0) continue;
      left = Tile::share(args.splits), ++to;
      if (to < args.splits) at = peer_address(part(work.split, 0), to), barrier = peer_address(ring.parts, to);
    }
    if (first < last) wait_for_peers(ring.parts, 0);
    at = part(0, 0);
    const uint32_t step = part(1, 0) - at;
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      if (n < first || n >= last) continue;
      add_parts(sums[n], at, step);
      at += Tile::kConsumers * 16;
      asm volatile("" : "+r"(at));
    }
  }
  // In the order of the splits, its own among them.
  __device__ void add_parts(float (&own)[4], uint32_t at, uint32_t step) const {
    float total[4] = {};
#pragma unroll 1
    for (int from = 0; from < args.splits; ++from, at += step) {
      float values[4] = {own[0], own[1], own[2], own[3]};
      if (from != work.split)
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(values[0]), "=f"(values[1]), "=f"(values[2]), "=f"(values[3])
                     : "r"(at)
                     : "memory");
#pragma unroll
      for (int c = 0; c < 4; ++c) total[c] += values[c];
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) own[c] = total[c];
  }

  // Of two neighbouring features (lanes g and g ^ 1) with two tokens each: both features of one token.
  __device__ float2 pair(float even_token, float odd_token) const {
    const bool odd = g % 2 == 1;
    const float other = __shfl_xor_sync(~0u, odd ? even_token : odd_token, 4);
    return odd ? make_float2(other, odd_token) : make_float2(even_token, other);
  }
  __device__ float bias_of(int feature, int offset) const {
    return args.bias && feature < args.features ? __bfloat162float(args.bias[offset + feature]) : 0.0f;
  }

  __device__ int first_feature() const { return work.tile * Tile::kRows + 16 * warp + g; }
  template <typename Out>
  __device__ HopperColumn<Out> column(int feature) const {
    return HopperColumn<Out>(args, 2 * i + g % 2, feature - g % 2);
  }

  __device__ void load_old() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      auto from = column<bf16>(first_feature() + 8 * half);
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n, from.step())
        if (n >= first && n < last) old[n][half] = from.load();
    }
  }
  template <typename Out, bool kAdd>
  __device__ void store_rows() const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int feature = first_feature() + 8 * half;
      const float bias = bias_of(feature, 0);
      auto to = column<Out>(feature);
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n, to.step()) {
        if (n < first || n >= last) continue;
        float2 values = pair(sums[n][2 * half] + bias, sums[n][2 * half + 1] + bias);
        if constexpr (kAdd) values.x += low_bf16(old[n][half]), values.y += high_bf16(old[n][half]);
        to.store(values);
      }
    }
  }
  template <class Activation>
  __device__ void store_gated(Activation activation) const {
    const int feature = work.tile * args.tile_features + 8 * warp + g;
    const float gate_bias = bias_of(feature, 0), up_bias = bias_of(feature, args.features);
    auto to = column<bf16>(feature);
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n, to.step()) {
      if (n < first || n >= last) continue;
      const float even = (sums[n][2] + up_bias) * activation(sums[n][0] + gate_bias);
      const float odd = (sums[n][3] + up_bias) * activation(sums[n][1] + gate_bias);
      to.store(pair(even, odd));
    }
  }
  __device__ void finish() const {
    if (args.epilogue == SkinnyEpilogue::add) return store_rows<bf16, true>();
    if (args.epilogue == SkinnyEpilogue::gated) return args.gelu ? store_gated(GeluTanh()) : store_gated(Silu());
    if (args.out_is_float) return store_rows<float, false>();
    store_rows<bf16, false>();
  }
};

// By one thread, before anything else.
template <class Tile>
__device__ void init_barriers(const HopperArgs& args, const HopperRing& ring, const HopperWork& work) {
  for (int s = 0; s < args.stages; ++s) {
    init_barrier(ring.full + uint32_t(s) * 8, 1);
    init_barrier(ring.empty + uint32_t(s) * 8, Tile::kConsumers / kWarpSize);
  }
  init_barrier(ring.parts, 1);
  publish_barriers();
  const int tiles = Tile::first(work.split + 1, args.splits) - Tile::first(work.split, args.splits);
  arrive_expecting(ring.parts, uint32_t((args.splits - 1) * tiles * Tile::kConsumers * 16));
}

#endif

template <class Tile>
__global__ __launch_bounds__(Tile::kThreads, 2) void hopper_linear_kernel(const __grid_constant__ HopperArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __shared__ uint64_t barriers[2 * Tile::kMaxStages + 1];  // full, empty, parts
  extern __shared__ unsigned char raw[];
  const uint32_t made = shared_address(barriers);
  const HopperRing ring{(shared_address(raw) + kPanelGroupBytes - 1) / kPanelGroupBytes * kPanelGroupBytes, made,
                        made + 8 * Tile::kMaxStages, made + 16 * Tile::kMaxStages};
  const HopperWork work(args);
  if (int(threadIdx.x) >= Tile::kConsumers) {
    const HopperCopier<Tile> copier{args, ring, work};
    const bool copies = threadIdx.x % kWarpSize == 0;
    int ahead = 0;
    if (copies) {
      fetch_tensor_map(&args.weights);
      fetch_tensor_map(&args.x);
      init_barriers<Tile>(args, ring, work);
      ahead = copier.copy_ahead();
    }
    let_next_kernel_start();
    __syncthreads();
    wait_for_previous_kernel();
    if (copies) copier.run(ahead);
    if (args.splits > 1) cluster_sync_relaxed();  // with the warps that multiply
  } else {
    __syncthreads();  // the barriers are made
    wait_for_previous_kernel();
    HopperConsumer<Tile>(args, ring, work).run();
  }
#endif
}

}  // namespace trireme::cuda
