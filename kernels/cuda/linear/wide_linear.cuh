#pragma once
// The kernel of wide_linear.h. A block is kGroups warpgroups that multiply 64 tokens each by the tile's weight rows,
// and one of which a thread copies. Of gated layers a tile takes eight gates, their eight ups, and so on, so that a
// thread has both.
//
// Blocks with the same weight rows, or with the same tokens, each copy a slice of them for all: a stage is free when
// all that are sent to have used theirs. Blocks that split a tile's k send each other their sums of the columns that
// the other finishes, which come into the ring once nobody needs it as one, and add them in the order of k.

#include "kernels/cuda/common/split_sums.cuh"
#include "kernels/cuda/linear/wide_output.cuh"
#include "kernels/cuda/linear/wide_stream.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <class Tile>
struct WideConsumer {
  static constexpr int kColumnTiles = Tile::kColumnTiles;
  const WideArgs& args;
  const WideRing& ring;
  const WidePlace& place;
  int thread = int(threadIdx.x), lane = int(threadIdx.x) % kWarpSize;
  WideOutput<Tile> output;
  uint32_t release_at = 0;
  WideStage<Tile> stage;
  float sums[kColumnTiles][4];

  __device__ WideConsumer(const WideArgs& a, const WideRing& r, const WidePlace& p)
      : args(a), ring(r), place(p), output(a, p.split) {
    if (lane < place.peers()) release_at = peer_address(ring.empty, place.peer(lane));
  }

  // A warpgroup that starts some steps late ends every tile late: one multiplies while the other stores.
  __device__ void start_late() const {
    const int late = min(min(args.late, Tile::kStages - 2), place.end - place.begin - 1);
    if (late > 0 && output.warp / 4 == 1) wait_for_phase(ring.full + uint32_t(late) * 8, 0);
  }
  __device__ void run() {
    start_late();
    for (int group = place.cluster; group < args.groups; group += place.clusters) {
      multiply();
      if (args.splits > 1) {
        cluster_sync_relaxed();  // all rings are free for parts
        exchange();
      }
      output.finish(sums, place.token_tile(group) * Tile::kTokens, place.feature_tile(group));
    }
  }

  __device__ void release(int used) const {
    if (lane < place.peers()) arrive_at_peer(release_at + uint32_t(used) * 8);
  }
  // A stage is released as soon as its products have ended, while the other warpgroups' go on: copies come from further
  // away than one step lasts.
  __device__ void multiply() {
    for (int step = place.begin; step < place.end; ++step, stage.next()) {
      wait_for_phase(ring.full + uint32_t(stage.number) * 8, stage.parity);
      const uint32_t from = ring.stages + uint32_t(stage.number * Tile::kStageBytes);
      const uint64_t a = panel_descriptor(from + uint32_t(output.warp / 4 * 64 * kPanelRowBytes), kPanelGroupBytes);
      const uint64_t b = panel_descriptor(from + uint32_t(Tile::kTokenBytes), kPanelGroupBytes);
      begin_products();
#pragma unroll
      for (int q = 0; q < 4; ++q)
        multiply_wide(sums, advanced(a, 32 * q), advanced(b, 32 * q), q > 0 || step > place.begin);
      end_product_group();
      wait_for_products<0>();
      release(stage.number);
    }
    pin_registers(sums);
  }

  __device__ void exchange() {
    const SplitMeeting meeting{place.split, args.splits, Tile::share(args.splits), output.first, output.last,
                               ring.stages, ring.parts};
    exchange_splits<Tile::kConsumers>(sums, meeting, thread,
                                      [this](int split) { return place.rank_of(split, place.token, place.feature); });
  }
};

#endif

template <class Tile>
__global__ __launch_bounds__(Tile::kThreads, 1) void wide_linear_kernel(const __grid_constant__ WideArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __shared__ uint64_t barriers[2 * Tile::kStages + 1];  // full, empty, parts
  extern __shared__ unsigned char raw[];
  const uint32_t made = shared_address(barriers);
  const WideRing ring{(shared_address(raw) + kPanelGroupBytes - 1) / kPanelGroupBytes * kPanelGroupBytes, made,
                      made + 8 * Tile::kStages, made + 16 * Tile::kStages};
  const WidePlace place(args);
  const bool copies = int(threadIdx.x) == Tile::kConsumers;
  if (copies) {
    fetch_tensor_map(&args.weights);
    fetch_tensor_map(&args.x);
    init_barriers<Tile>(args, ring, place);
  }
  cluster_size() > 1 ? cluster_sync_relaxed() : __syncthreads();  // the barriers are made and published
  let_next_kernel_start();
  if (int(threadIdx.x) >= Tile::kConsumers) {
    give_registers_up_to<Tile::kProducerRegisters>();
    if (copies) {
      const WideCopier<Tile> copier(args, ring, place);
      const int ahead = copier.copy_ahead();
      wait_for_previous_kernel();
      copier.run(ahead);
    }
    if (args.splits > 1) cluster_sync_relaxed();  // with the warps that multiply
  } else {
    take_registers_up_to<Tile::kConsumerRegisters>();
    wait_for_previous_kernel();
    WideConsumer<Tile>(args, ring, place).run();
  }
  // Nobody leaves while others still send to it.
  if (args.splits == 1 && cluster_size() > 1) cluster_sync_relaxed();
#endif
}

}  // namespace trireme::cuda
