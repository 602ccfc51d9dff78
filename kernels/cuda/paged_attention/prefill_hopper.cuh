#pragma once
// Prefill tiles of 128 packed rows on Hopper GPUs (sm_90a). A block stays and takes one tile after another; its first
// warpgroup copies queries, keys and values into shared memory, the two others attend with 64 rows each. While a
// warpgroup's softmax of one tile of keys runs, the tensor cores have its product with the values of the tile before.

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/paged_attention/prefill.cuh"

namespace trireme::cuda {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWarpgroupWarps = kWarpgroupThreads / kWarpSize;
inline constexpr int kHopperConsumers = 2;  // warpgroups
inline constexpr int kHopperThreads = (1 + kHopperConsumers) * kWarpgroupThreads;
inline constexpr int kHopperProducerRegisters = 72, kHopperConsumerRegisters = 216;

// Byte offsets in shared memory.
template <int kDim>
struct HopperShared {
  static constexpr int kRowsOfGroup = 64;  // of a consumer warpgroup
  static constexpr int kRows = kHopperConsumers * kRowsOfGroup, kKeys = 128, kStages = 2;
  static constexpr int kPanels = kDim / kPanelColumns;
  static constexpr int kQueryPanelBytes = kRows * kPanelRowBytes, kKeyPanelBytes = kKeys * kPanelRowBytes;
  static constexpr int kRowBytes = kDim * int(sizeof(bf16)), kWeightBytes = kMaxPrefillSplits * int(sizeof(float));
  // A tile's queries; when they have been used, its outputs or the merge's weights.
  static constexpr int kQueryBytes = kRows * (kRowBytes > kWeightBytes ? kRowBytes : kWeightBytes);
  static constexpr int kKeyBytes = kKeys * kRowBytes;
  static constexpr int kQueries = 0;                                    // [kStages]
  static constexpr int kTileKeys = kQueries + kStages * kQueryBytes;    // [kStages]
  static constexpr int kTileValues = kTileKeys + kStages * kKeyBytes;   // [kStages]
  static constexpr int kBarriers = kTileValues + kStages * kKeyBytes;
  static constexpr int kTiles = kBarriers + 128;                        // [kStages], and one that waits for its turn
  static constexpr int kTileBytes = 64;
  static constexpr size_t kBytes = kTiles + (kStages + 1) * kTileBytes + kPanelGroupBytes;  // and what aligns the first
  static_assert(sizeof(AttentionTile) <= kTileBytes);
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A position in the ring of stages.
template <int kStages>
struct RingPosition {
  int stage = 0;
  uint32_t phase = 0;
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

// Of one block, as addresses in shared memory.
template <int kDim>
struct HopperBlock {
  using Shared = HopperShared<kDim>;
  uint32_t base;
  unsigned char* bytes;

  __device__ uint32_t barrier(int index) const { return base + Shared::kBarriers + 8 * index; }
  __device__ uint32_t tile_ready(int stage) const { return barrier(stage); }  // its description and its queries
  __device__ uint32_t tile_done(int stage) const { return barrier(2 + stage); }
  __device__ uint32_t keys_ready(int stage) const { return barrier(4 + stage); }
  __device__ uint32_t keys_read(int stage) const { return barrier(6 + stage); }
  __device__ uint32_t values_ready(int stage) const { return barrier(8 + stage); }
  __device__ uint32_t values_read(int stage) const { return barrier(10 + stage); }
  __device__ uint32_t queries(int stage) const { return base + Shared::kQueries + stage * Shared::kQueryBytes; }
  __device__ uint32_t keys(int stage) const { return base + Shared::kTileKeys + stage * Shared::kKeyBytes; }
  __device__ uint32_t values(int stage) const { return base + Shared::kTileValues + stage * Shared::kKeyBytes; }
  // Stage kStages: the tile that comes next.
  __device__ AttentionTile& tile(int stage) const {
    return *reinterpret_cast<AttentionTile*>(bytes + Shared::kTiles + stage * Shared::kTileBytes);
  }

  __device__ void init_barriers() const {
    constexpr int kReaders = kHopperConsumers * kWarpgroupWarps;
    for (int stage = 0; stage < Shared::kStages; ++stage) {
      init_barrier(tile_ready(stage), kWarpgroupThreads + 1);
      init_barrier(tile_done(stage), kReaders);
      init_barrier(keys_ready(stage), kWarpgroupThreads);
      init_barrier(values_ready(stage), kWarpgroupThreads);
      init_barrier(keys_read(stage), kReaders);
      init_barrier(values_read(stage), kReaders);
    }
    publish_barriers();
  }
};

// This thread's copies so far, when they have come, arrive once.
__device__ inline void arrive_when_copied(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void copy_piece_async(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}
__device__ inline void copy_piece_async(uint32_t shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes)
               : "memory");
}

// The pieces of a matrix that one thread of the producing warpgroup copies: of rows first_row, first_row + kRowStep, ..
template <int kDim>
struct ThreadPieces {
  static constexpr int kPieces = kDim / 8;  // of a row
  static constexpr int kRowStep = kWarpgroupThreads / kPieces;
  int first_row, column;  // column: elements
  __device__ explicit ThreadPieces(int thread) : first_row(thread / kPieces), column(thread % kPieces * 8) {}
  __device__ uint32_t offset(int panel_bytes) const {
    const int panel = column / kPanelColumns, piece = column % kPanelColumns / 8;
    return uint32_t(panel * panel_bytes + first_row * kPanelRowBytes + (piece ^ first_row % 8) * 16);
  }
  static_assert(kRowStep % 8 == 0);  // so that all of a thread's rows are swizzled alike
};

template <int kDim>
__device__ inline void copy_queries(uint32_t to, const AttentionArgs& args, const AttentionTile& tile,
                                    const ThreadPieces<kDim>& pieces) {
  using Shared = HopperShared<kDim>;
  to += pieces.offset(Shared::kQueryPanelBytes);
#pragma unroll 2
  for (int row = pieces.first_row; row < Shared::kRows; row += pieces.kRowStep) {
    const int packed = tile.first_packed + row;
    const bool valid = packed < tile.packed_end;
    const bf16* from = args.q;
    if (valid)
      from += int64_t(tile.first_token + packed / args.group) * args.q_stride +
              int64_t(tile.kv_head * args.group + packed % args.group) * kDim + pieces.column;
    copy_piece_async(to, from, valid);
    to += pieces.kRowStep * kPanelRowBytes;
  }
}

// Of lane g: where the g-th eight keys from first_key on lie, as key_place has it. Blocks are multiples of eight keys.
__device__ inline uint32_t places_of_keys(const AttentionArgs& args, const AttentionTile& tile, int first_key,
                                          int lane) {
  const int first = first_key + lane * 8;
  if (first + 8 <= tile.key_begin || first >= tile.key_end) return kNoKey;
  const int block = args.block_table[int64_t(tile.slot) * args.table_stride + first / args.block_size];
  return uint32_t((int64_t(block) * args.block_stride + int64_t(first % args.block_size) * args.head_dim) / 8);
}

// K or V of a tile of keys; zeros for keys that are not the block's, so that a probability of zero never meets a NaN.
template <int kDim>
__device__ inline void copy_rows(uint32_t to, const bf16* head, uint32_t places, int first_key,
                                 const AttentionTile& tile, const ThreadPieces<kDim>& pieces) {
  using Shared = HopperShared<kDim>;
  const bf16* from = head + pieces.first_row % 8 * kDim + pieces.column;
  to += pieces.offset(Shared::kKeyPanelBytes);
  const int first_group = pieces.first_row / 8;
  if (first_key >= tile.key_begin && first_key + Shared::kKeys <= tile.key_end) {
#pragma unroll
    for (int row = 0; row < Shared::kKeys; row += pieces.kRowStep)
      copy_piece_async(to + row * kPanelRowBytes, from + uint64_t(__shfl_sync(~0u, places, row / 8 + first_group)) * 8);
    return;
  }
  const int keys = tile.key_end - tile.key_begin, key = first_key + pieces.first_row - tile.key_begin;
#pragma unroll 2
  for (int row = 0; row < Shared::kKeys; row += pieces.kRowStep) {
    const uint64_t place = __shfl_sync(~0u, places, row / 8 + first_group);
    const bool valid = unsigned(key + row) < unsigned(keys);
    copy_piece_async(to + row * kPanelRowBytes, valid ? from + place * 8 : head, valid);
  }
}

// Tiles are numbered through all items and KV heads; none: the last has been taken.
template <int kDim>
__device__ inline void fetch_tile(const HopperBlock<kDim>& block, const AttentionArgs& args, unsigned index,
                                  unsigned tiles) {
  AttentionTile tile;
  tile.num_splits = 0;
  if (index < tiles) tile = tile_of(args, int(index) / args.kv_heads, int(index) % args.kv_heads);
  block.tile(HopperShared<kDim>::kStages) = tile;
}
template <int kDim>
__device__ inline AttentionTile take_tile(const HopperBlock<kDim>& block) {
  sync_threads<3, kWarpgroupThreads>();
  const AttentionTile tile = block.tile(HopperShared<kDim>::kStages);
  sync_threads<3, kWarpgroupThreads>();
  return tile;
}

// The first warpgroup. A block's first tile has the block's number, others come from a counter that ends every launch
// at 0: there are as many tiles as times a block asks for one. The next is fetched while this one's keys are copied.
template <int kDim>
__device__ inline void produce_tiles(const HopperBlock<kDim>& block, const AttentionArgs& args) {
  using Shared = HopperShared<kDim>;
  const int thread = int(threadIdx.x), group_lane = thread % (Shared::kKeys / 8);
  const ThreadPieces<kDim> pieces(thread);
  const unsigned tiles = unsigned(__ldcg(args.num_items) * args.kv_heads);
  RingPosition<Shared::kStages> ring, turn;
  if (thread == 0) fetch_tile(block, args, blockIdx.x, tiles);
  for (AttentionTile tile = take_tile(block);; tile = take_tile(block), turn.advance()) {
    wait_for_phase(block.tile_done(turn.stage), turn.phase ^ 1);
    if (thread == 0) block.tile(turn.stage) = tile, arrive(block.tile_ready(turn.stage));
    if (tile.num_splits > 0) copy_queries(block.queries(turn.stage), args, tile, pieces);
    arrive_when_copied(block.tile_ready(turn.stage));
    if (tile.num_splits == 0) break;
    const bf16* head = args.kv + tile.kv_head * args.head_stride;
    bool fetched = false;
    for (int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys; first_key < tile.key_end;
         first_key += Shared::kKeys, ring.advance()) {
      const uint32_t places = places_of_keys(args, tile, first_key, group_lane);
      wait_for_phase(block.keys_read(ring.stage), ring.phase ^ 1);
      copy_rows(block.keys(ring.stage), head, places, first_key, tile, pieces);
      arrive_when_copied(block.keys_ready(ring.stage));
      wait_for_phase(block.values_read(ring.stage), ring.phase ^ 1);
      copy_rows(block.values(ring.stage), head + args.value_offset, places, first_key, tile, pieces);
      arrive_when_copied(block.values_ready(ring.stage));
      if (thread == 0 && !fetched) fetch_tile(block, args, gridDim.x + atomicInc(args.next_tile, tiles - 1), tiles);
      fetched = true;
    }
  }
  wait_for_copies();
}

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
      : block_(block), args_(args), lane_(int(threadIdx.x) % kWarpSize),
        warp_(int(threadIdx.x) / kWarpSize % kWarpgroupWarps), first_row_(group * Shared::kRowsOfGroup),
        turns_{1 + group, 2 - group} {
    if (group == 1) turns_.pass();
  }

  __device__ void run() {
    for (;; turn_.advance()) {
      wait_for_phase(block_.tile_ready(turn_.stage), turn_.phase);
      const AttentionTile tile = block_.tile(turn_.stage);
      if (tile.num_splits == 0) break;
      queries_ = panel_descriptor(block_.queries(turn_.stage) + first_row_ * kPanelRowBytes, 16);
      RunningSoftmax<kDim> state;
      attend(state, tile);
      state.finish(args_.exponent_scale);
      write(state, tile);
      release(block_.tile_done(turn_.stage));
    }
    if (first_row_ == 0) turns_.wait();  // the other's last
  }

 private:
  __device__ void write(const RunningSoftmax<kDim>& state, const AttentionTile& tile) {
    unsigned char* outputs = block_.bytes + Shared::kQueries + turn_.stage * Shared::kQueryBytes;
    const int row = first_row_ + warp_ * 16;
    if (tile.num_splits == 1) {
      sync_warpgroup();  // nobody multiplies its queries any more
      return write_rows(outputs + row * Shared::kRowBytes, state, tile, row);
    }
    write_fragment<kDim, Shared::kRows>(state, args_, tile, row, lane_);
    finish_tile<kDim, Shared::kRows, HopperConsumers>(reinterpret_cast<float*>(outputs), args_, tile);
  }

  // The warp's rows by way of its rows of shared memory, as 16 bytes a lane; pieces of 16 bytes lie as in operands.
  __device__ void write_rows(unsigned char* own, const RunningSoftmax<kDim>& state, const AttentionTile& tile,
                             int first_row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / state.sum[r];
      unsigned char* row = own + (lane_ / 4 + r * 8) * Shared::kRowBytes + lane_ % 4 * 4;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        *reinterpret_cast<uint32_t*>(row + (n ^ lane_ / 4) * 16) =
            pack_bf16(state.output[n][2 * r] * inverse, state.output[n][2 * r + 1] * inverse);
    }
    __syncwarp();
    constexpr int kPieces = kDim / 8;
#pragma unroll 4
    for (int i = lane_; i < 16 * kPieces; i += kWarpSize) {
      const int row = i / kPieces, piece = i % kPieces;
      if (tile.first_packed + first_row + row >= tile.packed_end) continue;
      *reinterpret_cast<uint4*>(output_at(args_, tile, first_row + row, piece * 8)) =
          *reinterpret_cast<const uint4*>(own + row * Shared::kRowBytes + (piece ^ row % 8) * 16);
    }
  }

  __device__ void attend(RunningSoftmax<kDim>& state, const AttentionTile& tile) {
    const HopperRows rows(tile, args_, first_row_, warp_, lane_);
    float scores[kKeys / 8][4], rescale[2];
    uint32_t probabilities[kKeys / 16][4];
    int first_key = tile.key_begin / kKeys * kKeys;
    wait_for_phase(block_.keys_ready(keys_.stage), keys_.phase);
    order_shared_writes();
    begin_products();
    multiply_queries(scores);
    wait_for_products<0>();
    pin_registers(scores);
    release_keys();
    softmax(state, scores, rescale, rows, tile, first_key);
    pack(probabilities, scores);
    for (first_key += kKeys; first_key < tile.key_end; first_key += kKeys) {
      wait_for_phase(block_.keys_ready(keys_.stage), keys_.phase);
      wait_for_phase(block_.values_ready(values_.stage), values_.phase);
      order_shared_writes();
      turns_.wait();
      pin_registers(state.output);
      begin_products();
      multiply_queries(scores);
      multiply_values(state.output, probabilities);
      turns_.pass();
      wait_for_products<1>();
      pin_registers(scores);
      release_keys();
      softmax(state, scores, rescale, rows, tile, first_key);
      if (state.sum[0] + state.sum[1] < 0) __trap();  // never: keeps the assembler from moving the softmax behind the wait
      wait_for_products<0>();
      pin_registers(state.output);
      release_values();
      state.rescale_output(rescale);
      pack(probabilities, scores);
    }
    wait_for_phase(block_.values_ready(values_.stage), values_.phase);
    order_shared_writes();
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

  __device__ void softmax(RunningSoftmax<kDim>& state, float (&scores)[kKeys / 8][4], float (&rescale)[2],
                          const HopperRows& rows, const AttentionTile& tile, int first_key) {
    if (args_.soft_cap > 0) cap_scores(scores, args_);
    if (!rows.see_all(tile, args_.window, first_key, first_key + kKeys - 1))
      mask_scores(scores, rows.positions, args_.window, first_key, tile.key_begin, tile.key_end, lane_);
    state.take_in(scores, args_.exponent_scale, rescale);
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
  __device__ void sync_warpgroup() const {
    asm volatile("bar.sync %0, %1;" ::"r"(5 + first_row_ / Shared::kRowsOfGroup), "n"(kWarpgroupThreads) : "memory");
  }
  __device__ void release_keys() {
    release(block_.keys_read(keys_.stage));
    keys_.advance();
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
  RingPosition<Shared::kStages> turn_, keys_, values_;
};

#endif

template <int kDim>
__global__ __launch_bounds__(kHopperThreads, 1) void hopper_prefill_kernel(const __grid_constant__ AttentionArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char raw_bytes[];
  const uint32_t raw = shared_address(raw_bytes);
  const uint32_t base = (raw + kPanelGroupBytes - 1) / kPanelGroupBytes * kPanelGroupBytes;
  const HopperBlock<kDim> block{base, raw_bytes + (base - raw)};
  if (threadIdx.x == 0) block.init_barriers();
  __syncthreads();
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int warpgroup = __shfl_sync(~0u, int(threadIdx.x) / kWarpgroupThreads, 0);
  if (warpgroup == 0) {
    give_registers_up_to<kHopperProducerRegisters>();
    produce_tiles(block, args);
  } else {
    take_registers_up_to<kHopperConsumerRegisters>();
    HopperConsumer<kDim>(block, args, warpgroup - 1).run();
  }
#endif
}

}  // namespace trireme::cuda
