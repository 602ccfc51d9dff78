#pragma once
// The consuming warpgroups of the Hopper prefill kernel, each with 64 rows of a tile of queries. While the softmax of
// one tile of keys runs, the tensor cores have its product with the values of the tile before.

#include "kernels/cuda/paged_attention/hopper_block.cuh"

namespace trireme::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A consumer warpgroup's rows of the tile.
struct HopperRows {
  int positions[2];     // of the lane's rows, -1 where there is no such row
  int lowest, highest;  // of the warpgroup's rows

  __device__ HopperRows(const AttentionTile& tile, const AttentionArgs& args, int first_row, int warp, int lane) {
    const int first = tile.first_packed + first_row;
    for (int r = 0; r < 2; ++r) {
      const int packed = first + warp * 16 + lane / 4 + r * 8;
      positions[r] = packed < tile.packed_end ? tile.position_of(packed, args.group) : -1;
    }
    lowest = tile.position_of(first, args.group);
    highest = tile.position_of(min(first + HopperShared<64>::kRowsOfGroup, tile.packed_end) - 1, args.group);
  }
  __device__ bool see_all(const AttentionTile& tile, int window, int first_key, int last_key) const {
    return first_key >= tile.key_begin && last_key < tile.key_end && last_key <= lowest &&
           (window == 0 || first_key > highest - window);
  }
};

// The two consumers take turns at the tensor cores: one multiplies while the other has its softmax.
struct Turns {
  int own, other;  // named barriers
  __device__ void wait() const { asm volatile("bar.sync %0, %1;" ::"r"(own), "n"(2 * kWarpgroupThreads) : "memory"); }
  __device__ void pass() const {
    asm volatile("bar.arrive %0, %1;" ::"r"(other), "n"(2 * kWarpgroupThreads) : "memory");
  }
};

struct HopperConsumers {
  static constexpr int kThreads = kHopperConsumers * kWarpgroupThreads;
  __device__ static int thread() { return int(threadIdx.x) - kWarpgroupThreads; }
  __device__ static void sync() { sync_threads<4, kThreads>(); }
};

template <int kDim>
class HopperConsumer {
 public:
  using Shared = HopperShared<kDim>;
  static constexpr int kKeys = Shared::kKeys;

  __device__ HopperConsumer(const HopperBlock<kDim>& block, const AttentionArgs& args, int group)
      : block_(block),
        args_(args),
        lane_(int(threadIdx.x) % kWarpSize),
        warp_(int(threadIdx.x) / kWarpSize % kWarpgroupWarps),
        first_row_(group * Shared::kRowsOfGroup),
        turns_{1 + group, 2 - group} {
    queries_ = panel_descriptor(block.base + Shared::kQueries + first_row_ * kPanelRowBytes, 16);
    if (group == 1) turns_.pass();
  }

  __device__ void run() {
    for (uint32_t query_phase = 0;; query_phase ^= 1, at_.advance()) {
      wait_for_phase(block_.tile_ready(at_.stage), at_.phase);
      const AttentionTile tile = block_.tile(at_.stage);
      if (tile.num_splits == 0) break;
      wait_for_phase(block_.queries_ready(), query_phase);
      RunningSoftmax<kDim> state[1];
      attend(state[0], tile);
      state[0].finish(args_.exponent_scale);
      write(state, tile);
    }
    if (first_row_ == 0) turns_.wait();  // the other's last
  }

 private:
  __device__ void write(const RunningSoftmax<kDim> (&state)[1], const AttentionTile& tile) {
    const int row = first_row_ + warp_ * 16;
    unsigned char* outputs = block_.bytes + Shared::kOutputs;
    if (tile.num_splits == 1) {
      bf16* own = reinterpret_cast<bf16*>(outputs + row * Shared::kRowBytes);
      return write_whole(own, state[0], tile, row);
    }
    write_fragments<kDim, 1, Shared::kRows>(state, args_, tile, row, lane_);
    finish_tile<kDim, Shared::kRows, HopperConsumers>(reinterpret_cast<float*>(outputs), args_, tile);
    HopperConsumers::sync();  // the weights have been read
  }

  // A warp's rows as bf16, by way of shared memory: 16 bytes a lane, two or more rows at a time.
  __device__ void write_whole(bf16* own, const RunningSoftmax<kDim>& state, const AttentionTile& tile, int first_row) {
    using Rows = TileRows<kDim>;
    constexpr int kStep = kWarpSize / Rows::kPieces;  // rows
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / state.sum[r];
      bf16* row = own + (lane_ / 4 + r * 8) * Rows::kStride + lane_ % 4 * 2;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        *reinterpret_cast<uint32_t*>(row + n * 8) =
            pack_bf16(state.output[n][2 * r] * inverse, state.output[n][2 * r + 1] * inverse);
    }
    __syncwarp();
    const int first = lane_ / Rows::kPieces, column = lane_ % Rows::kPieces * 8;
    const bf16* from = own + first * Rows::kStride + column;
    bf16* to = output_at(args_, tile, first_row + first, column);
    const int64_t to_next_token = args_.out_stride - args_.group * kDim;
    int head = (tile.first_packed + first_row + first) % args_.group;
    const int rows = tile.packed_end - tile.first_packed - first_row;
#pragma unroll 4
    for (int row = first; row < 16; row += kStep) {
      if (row < rows) *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
      from += kStep * Rows::kStride, to += kStep * kDim;
      for (head += kStep; head >= args_.group; head -= args_.group) to += to_next_token;
    }
  }

  __device__ void attend(RunningSoftmax<kDim>& state, const AttentionTile& tile) {
    const HopperRows rows(tile, args_, first_row_, warp_, lane_);
    float scores[kKeys / 8][4], rescale[2];
    uint32_t probabilities[kKeys / 16][4];
    int first_key = tile.key_begin / kKeys * kKeys;
    wait_for_phase(block_.keys_ready(keys_.stage), keys_.phase);
    begin_products();
    multiply_queries(scores);
    wait_for_products<0>();
    pin_registers(scores);
    release_keys(first_key + kKeys >= tile.key_end);
    hide(scores, rows, tile, first_key);
    state.take_in(scores, args_.exponent_scale, rescale);
    pack(probabilities, scores);
    for (first_key += kKeys; first_key < tile.key_end; first_key += kKeys) {
      wait_for_phase(block_.keys_ready(keys_.stage), keys_.phase);
      wait_for_phase(block_.values_ready(values_.stage), values_.phase);
      turns_.wait();
      pin_registers(state.output);
      begin_products();
      multiply_queries(scores);
      multiply_values(state.output, probabilities);
      turns_.pass();
      wait_for_products<1>();
      pin_registers(scores);
      release_keys(first_key + kKeys >= tile.key_end);
      hide(scores, rows, tile, first_key);
      state.take_in(scores, args_.exponent_scale, rescale);
      // Never: keeps the assembler from moving the softmax behind the wait.
      if (state.sum[0] + state.sum[1] < 0) __trap();
      wait_for_products<0>();
      pin_registers(state.output);
      release_values();
      state.rescale_output(rescale);
      pack(probabilities, scores);
    }
    wait_for_phase(block_.values_ready(values_.stage), values_.phase);
    pin_registers(state.output);
    begin_products();
    multiply_values(state.output, probabilities);
    wait_for_products<0>();
    pin_registers(state.output);
    release_values();
  }

  __device__ void multiply_queries(float (&scores)[kKeys / 8][4]) {
    const uint64_t keys = panel_descriptor(block_.keys(keys_.stage), 16);
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      const int panel = d / kPanelColumns, bytes = d % kPanelColumns * int(sizeof(bf16));
      multiply_64x128x16(scores, advanced(queries_, panel * Shared::kQueryPanelBytes + bytes),
                         advanced(keys, panel * Shared::kKeyPanelBytes + bytes), d > 0);
    }
    end_product_group();
  }
  __device__ void multiply_values(float (&output)[kDim / 8][4], const uint32_t (&probabilities)[kKeys / 16][4]) {
    const uint64_t values = panel_descriptor(block_.values(values_.stage), Shared::kKeyPanelBytes);
#pragma unroll
    for (int k = 0; k < kKeys; k += 16)
      multiply_add_rows(output, probabilities[k / 16], advanced(values, k * kPanelRowBytes));
    end_product_group();
  }

  __device__ void hide(float (&scores)[kKeys / 8][4], const HopperRows& rows, const AttentionTile& tile,
                       int first_key) {
    if (args_.soft_cap > 0) cap_scores(scores, args_);
    if (!rows.see_all(tile, args_.window, first_key, first_key + kKeys - 1))
      mask_scores(scores, rows.positions, args_.window, first_key, tile.key_begin, tile.key_end, lane_);
  }
  __device__ static void pack(uint32_t (&a)[kKeys / 16][4], const float (&scores)[kKeys / 8][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const float(&low)[4] = scores[2 * k];
      const float(&high)[4] = scores[2 * k + 1];
      a[k][0] = pack_bf16(low[0], low[1]), a[k][1] = pack_bf16(low[2], low[3]);
      a[k][2] = pack_bf16(high[0], high[1]), a[k][3] = pack_bf16(high[2], high[3]);
    }
  }

  __device__ void release(uint32_t barrier) const {
    __syncwarp();
    if (lane_ == 0) arrive(barrier);
  }
  __device__ void release_keys(bool last_of_tile) {
    release(block_.keys_read(keys_.stage));
    keys_.advance();
    if (last_of_tile) release(block_.tile_read(at_.stage));
  }
  __device__ void release_values() {
    release(block_.values_read(values_.stage));
    values_.advance();
  }

  const HopperBlock<kDim>& block_;
  const AttentionArgs& args_;
  int lane_, warp_, first_row_;
  Turns turns_;
  uint64_t queries_;
  TilePosition at_;
  RingPosition<Shared::kStages> keys_, values_;
};

#endif

}  // namespace trireme::cuda
