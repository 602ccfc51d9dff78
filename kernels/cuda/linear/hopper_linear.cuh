#pragma once
// The kernel of hopper_linear.h. Weight rows are the 64-row operand of the warpgroup product, tokens its columns:
// sums[row, token] in registers. A block is kGroups warpgroups with 64 rows each, one warp that copies and, of few
// tokens, some that bring x; a stage is kPanels panels of the tile's weight rows, then as many of all tokens' rows. Of
// gated layers a tile takes eight gates, their eight ups, and so on, so that a thread has both.
//
// Where the blocks of a cluster split a tile's k, each sends the others their share of its sums (some of the tokens),
// adds what it gets in the order of k and finishes its share.

#include "kernels/cuda/common/gated_activation.cuh"
#include "kernels/cuda/common/split_sums.cuh"
#include "kernels/cuda/linear/hopper_feeder.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// The thread that copies.
template <class Tile>
struct HopperCopier {
  const HopperArgs& args;
  const HopperRing& ring;
  const HopperWork& work;
  uint64_t policy = evict_first_policy();

  __device__ void copy_weights(int step, int stage) const {
    const uint32_t full = ring.full + uint32_t(stage) * 8;
    arrive_expecting(full, Tile::kFed ? Tile::kWeightBytes : Tile::kStageBytes);
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
  // Unless it is fed.
  __device__ void copy_x(int step, int stage) const {
#pragma unroll
    for (int p = 0; !Tile::kFed && p < Tile::kPanels; ++p)
      copy_box(ring.stages + uint32_t(stage * Tile::kStageBytes + Tile::kWeightBytes + p * Tile::kTokenPanelBytes),
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
    if constexpr (!Tile::kFed) order_bulk_copies();
    for (int s = 0; s < ahead; ++s) copy_x(work.begin + s, s);
    RingPlace place;
    for (int step = work.begin + ahead; step < work.end; ++step) {
      wait_for_phase(ring.empty + uint32_t(place.stage) * 8, place.parity);
      copy_weights(step, place.stage);
      copy_x(step, place.stage);
      place.advance(1, args.stages);
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

// All threads that multiply and all feeders: the sums of squares are stored.
template <class Tile>
__device__ inline void meet_feeders() {
  sync_threads<1, Tile::kConsumers + Tile::kFeeders * kWarpSize>();
}

template <class Tile, bool kNorm>
struct HopperLinearConsumer {
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

  __device__ HopperLinearConsumer(const HopperArgs& a, const HopperRing& r, const HopperWork& w)
      : args(a), ring(r), work(w) {
    first = Tile::first(work.split, args.splits), last = Tile::first(work.split + 1, args.splits);
  }

  __device__ void run() {
    if (args.epilogue == SkinnyEpilogue::add) load_old();
    multiply();
    const HopperSquares<Tile> squares{args, ring, work.split};
    if constexpr (kNorm) meet_feeders<Tile>();
    if (args.splits > 1) {
      if constexpr (!Tile::kFed) cluster_arrive_relaxed();
      cluster_wait();  // all rings are free for parts, or all blocks have begun
      if constexpr (kNorm) squares.send();
      exchange();
    }
    if constexpr (kNorm) apply_norm(squares);
    finish();
  }

  __device__ void release(int used) const {
    if (lane == 0) arrive(ring.empty + uint32_t(used) * 8);
  }

  __device__ void multiply() {
    RingPlace place;
    int before = -1;
    for (int step = work.begin; step < work.end; ++step) {
      wait_for_phase(ring.full + uint32_t(place.stage) * 8, place.parity);
      if constexpr (Tile::kFed) wait_for_phase(ring.fed + uint32_t(place.stage) * 8, place.parity);
      const uint32_t from = ring.stages + uint32_t(place.stage * Tile::kStageBytes);
      begin_products();
#pragma unroll
      for (int p = 0; p < Tile::kPanels; ++p) {
        const uint64_t a = panel_descriptor(
            from + uint32_t(p * Tile::kWeightPanelBytes + warp / 4 * 64 * kPanelRowBytes), kPanelGroupBytes);
        const uint64_t b =
            panel_descriptor(from + uint32_t(Tile::kWeightBytes + p * Tile::kTokenPanelBytes), kPanelGroupBytes);
#pragma unroll
        for (int q = 0; q < 4; ++q)
          multiply_narrow(sums, advanced(a, 32 * q), advanced(b, 32 * q), p > 0 || q > 0 || step > work.begin);
      }
      end_product_group();
      wait_for_products<1>();
      if (before >= 0) release(before);
      before = place.stage;
      place.advance(1, args.stages);
    }
    wait_for_products<0>();
    pin_registers(sums);
  }

  __device__ void exchange() {
    const SplitMeeting meeting{work.split, args.splits, Tile::share(args.splits), first, last, ring.parts, ring.sent};
    exchange_splits<Tile::kConsumers>(sums, meeting, thread, [](int split) { return split; });
  }

  __device__ void apply_norm(const HopperSquares<Tile>& squares) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      if (n < first || n >= last) continue;
      const float even = squares.row_scale(8 * n + 2 * i), odd = squares.row_scale(8 * n + 2 * i + 1);
      sums[n][0] *= even, sums[n][1] *= odd, sums[n][2] *= even, sums[n][3] *= odd;
    }
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
template <class Tile, bool kNorm>
__device__ void init_barriers(const HopperArgs& args, const HopperRing& ring, const HopperWork& work) {
  for (int s = 0; s < args.stages; ++s) {
    init_barrier(ring.full + uint32_t(s) * 8, 1);
    init_barrier(ring.fed + uint32_t(s) * 8, Tile::kShares);
    init_barrier(ring.empty + uint32_t(s) * 8, uint32_t(Tile::kUsers));
  }
  init_barrier(ring.sent, 1);
  publish_barriers();
  const int tiles = Tile::first(work.split + 1, args.splits) - Tile::first(work.split, args.splits);
  const uint32_t squares = kNorm && tiles > 0 ? HopperSquares<Tile>::sent_bytes(args.splits) : 0;
  arrive_expecting(ring.sent, uint32_t((args.splits - 1) * tiles * Tile::kConsumers * 16) + squares);
}

#endif

template <class Tile, bool kNorm>
__global__ __launch_bounds__(Tile::kThreads, 2) void hopper_linear_kernel(const __grid_constant__ HopperArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  static_assert(Tile::kFed || !kNorm);
  constexpr int kMost = Tile::kMaxStages;
  __shared__ uint64_t barriers[3 * kMost + 1];  // full, fed, empty, sent
  extern __shared__ unsigned char raw[];
  const uint32_t made = shared_address(barriers);
  const uint32_t stages = (shared_address(raw) + kPanelGroupBytes - 1) / kPanelGroupBytes * kPanelGroupBytes;
  const uint32_t parts = Tile::kFed ? stages + uint32_t(args.stages * Tile::kStageBytes) : stages;
  const uint32_t squares = parts + uint32_t(Tile::part_bytes(args.splits));
  const HopperRing ring{stages, parts, squares, made, made + 8 * kMost, made + 16 * kMost, made + 24 * kMost};
  const HopperWork work(args);
  const HopperCopier<Tile> copier{args, ring, work};
  const int warp = int(threadIdx.x) / kWarpSize - Tile::kConsumers / kWarpSize;  // 0: copies; beyond: bring x
  const bool copies = int(threadIdx.x) == Tile::kConsumers;
  int ahead = 0;
  if (copies) {
    fetch_tensor_map(&args.weights);
    if constexpr (!Tile::kFed) fetch_tensor_map(&args.x);
    init_barriers<Tile, kNorm>(args, ring, work);
    ahead = copier.copy_ahead();
  }
  if (warp == 0) let_next_kernel_start();
  __syncthreads();  // the barriers are made
  if (Tile::kFed && args.splits > 1) cluster_arrive_relaxed();
  if (!Tile::kFed || warp != 0) wait_for_previous_kernel();
  if (warp < 0) return HopperLinearConsumer<Tile, kNorm>(args, ring, work).run();
  if (copies) copier.run(ahead);
  if constexpr (Tile::kFed) {
    if (warp > 0) HopperFeeder<Tile, kNorm>(args, ring, work, warp - 1).run();
    if (kNorm && warp > 0) meet_feeders<Tile>();
  }
  if (args.splits == 1) return;
  if (!Tile::kFed) cluster_arrive_relaxed();
  cluster_wait();  // with the threads that multiply
#endif
}

}  // namespace trireme::cuda
