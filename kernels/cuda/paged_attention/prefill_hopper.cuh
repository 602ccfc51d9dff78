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
inline constexpr int kHopperProducerRegisters = 40, kHopperConsumerRegisters = 232;

// Byte offsets in shared memory.
template <int kDim>
struct HopperShared {
  static constexpr int kRowsOfGroup = 64;  // of a consumer warpgroup
  static constexpr int kRows = kHopperConsumers * kRowsOfGroup, kKeys = 128, kStages = 2;
  static constexpr int kPanels = kDim / kPanelColumns;
  static constexpr int kQueryPanelBytes = kRows * kPanelRowBytes, kKeyPanelBytes = kKeys * kPanelRowBytes;
  static constexpr int kQueryBytes = kPanels * kQueryPanelBytes, kKeyBytes = kPanels * kKeyPanelBytes;
  static constexpr int kQueries = 0;
  static constexpr int kTileKeys = kQueries + kQueryBytes;              // [kStages]
  static constexpr int kTileValues = kTileKeys + kStages * kKeyBytes;   // [kStages]
  static constexpr int kOutputs = kTileValues + kStages * kKeyBytes;    // rows as TileRows has them; the merge's weights
  static constexpr int kRowBytes = TileRows<kDim>::kStride * int(sizeof(bf16));
  static constexpr int kWeightBytes = kMaxPrefillSplits * int(sizeof(float));
  static constexpr int kBarriers = kOutputs + kRows * (kRowBytes > kWeightBytes ? kRowBytes : kWeightBytes);
  static constexpr int kTile = kBarriers + 128;
  static constexpr size_t kBytes = kTile + 64 + kPanelGroupBytes;  // and what aligns the first
  static_assert(sizeof(AttentionTile) <= 64 && kBarriers % 16 == 0);
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
  __device__ uint32_t tile_ready() const { return barrier(0); }   // the tile's description and its queries
  __device__ uint32_t tile_read() const { return barrier(1); }
  __device__ uint32_t keys_ready(int stage) const { return barrier(2 + stage); }
  __device__ uint32_t keys_read(int stage) const { return barrier(4 + stage); }
  __device__ uint32_t values_ready(int stage) const { return barrier(6 + stage); }
  __device__ uint32_t values_read(int stage) const { return barrier(8 + stage); }
  __device__ uint32_t keys(int stage) const { return base + Shared::kTileKeys + stage * Shared::kKeyBytes; }
  __device__ uint32_t values(int stage) const { return base + Shared::kTileValues + stage * Shared::kKeyBytes; }
  __device__ AttentionTile& tile() const { return *reinterpret_cast<AttentionTile*>(bytes + Shared::kTile); }

  __device__ void init_barriers() const {
    constexpr int kReaders = kHopperConsumers * kWarpgroupWarps;
    init_barrier(tile_ready(), kWarpgroupThreads + 1);
    init_barrier(tile_read(), kReaders);
    for (int stage = 0; stage < Shared::kStages; ++stage) {
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
__device__ inline void copy_queries(const HopperBlock<kDim>& block, const AttentionArgs& args,
                                    const AttentionTile& tile, const ThreadPieces<kDim>& pieces) {
  using Shared = HopperShared<kDim>;
  uint32_t to = block.base + Shared::kQueries + pieces.offset(Shared::kQueryPanelBytes);
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
  if (first_key >= tile.key_begin && first_key + Shared::kKeys <= tile.key_end) {
#pragma unroll 4
    for (int row = 0; row < Shared::kKeys; row += pieces.kRowStep) {
      const uint64_t place = __shfl_sync(~0u, places, (row + pieces.first_row) / 8);
      copy_piece_async(to + row * kPanelRowBytes, from + place * 8, true);
    }
    return;
  }
  const int keys = tile.key_end - tile.key_begin, key = first_key + pieces.first_row - tile.key_begin;
#pragma unroll 1
  for (int row = 0; row < Shared::kKeys; row += pieces.kRowStep) {
    const uint64_t place = __shfl_sync(~0u, places, (row + pieces.first_row) / 8);
    const bool valid = unsigned(key + row) < unsigned(keys);
    copy_piece_async(to + row * kPanelRowBytes, valid ? from + place * 8 : head, valid);
  }
}

// The first warpgroup: tiles are numbered through all items and KV heads; a block's first is its own number, others
// come from a counter that ends every launch at 0, as there are as many tiles as times a block asks for one.
template <int kDim>
__device__ inline void produce_tiles(const HopperBlock<kDim>& block, const AttentionArgs& args) {
  using Shared = HopperShared<kDim>;
  const int thread = int(threadIdx.x), lane = thread % kWarpSize;
  const ThreadPieces<kDim> pieces(thread);
  const int tiles = __ldcg(args.num_items) * args.kv_heads;
  RingPosition<Shared::kStages> ring;
  uint32_t tile_phase = 0;
  int* next_index = reinterpret_cast<int*>(block.bytes + Shared::kTile + sizeof(AttentionTile));
  for (int index = int(blockIdx.x); index < tiles; tile_phase ^= 1) {
    const AttentionTile tile = tile_of(args, index / args.kv_heads, index % args.kv_heads);
    const bf16* head = args.kv + tile.kv_head * args.head_stride;
    int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys;
    uint32_t places = places_of_keys(args, tile, first_key, lane % 16);
    wait_for_phase(block.tile_read(), tile_phase ^ 1);
    if (thread == 0) block.tile() = tile, arrive(block.tile_ready());
    copy_queries(block, args, tile, pieces);
    arrive_when_copied(block.tile_ready());
    if (thread == 0) *next_index = int(gridDim.x + atomicInc(args.next_tile, unsigned(tiles - 1)));
    for (; first_key < tile.key_end; first_key += Shared::kKeys, ring.advance()) {
      wait_for_phase(block.keys_read(ring.stage), ring.phase ^ 1);
      copy_rows(block.keys(ring.stage), head, places, first_key, tile, pieces);
      arrive_when_copied(block.keys_ready(ring.stage));
      wait_for_phase(block.values_read(ring.stage), ring.phase ^ 1);
      copy_rows(block.values(ring.stage), head + args.value_offset, places, first_key, tile, pieces);
      arrive_when_copied(block.values_ready(ring.stage));
      places = places_of_keys(args, tile, first_key + Shared::kKeys, lane % 16);
    }
    sync_threads<3, kWarpgroupThreads>();
    index = *next_index;
    sync_threads<3, kWarpgroupThreads>();
  }
  wait_for_phase(block.tile_read(), tile_phase ^ 1);
  if (thread == 0) block.tile().num_splits = 0, arrive(block.tile_ready());  // the end
  arrive_when_copied(block.tile_ready());
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
    queries_ = panel_descriptor(block.base + Shared::kQueries + first_row_ * kPanelRowBytes, 16);
    if (group == 1) turns_.pass();
  }

  __device__ void run() {
    for (uint32_t tile_phase = 0;; tile_phase ^= 1) {
      wait_for_phase(block_.tile_ready(), tile_phase);
      order_shared_writes();
      const AttentionTile tile = block_.tile();
      if (tile.num_splits == 0) break;
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
      return write_rows<kDim, 1>(own, state, args_, tile, row, lane_);
    }
    write_fragments<kDim, 1, Shared::kRows>(state, args_, tile, row, lane_);
    finish_tile<kDim, Shared::kRows, HopperConsumers>(reinterpret_cast<float*>(outputs), args_, tile);
    HopperConsumers::sync();  // the weights have been read
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
    release_keys(first_key + kKeys >= tile.key_end);
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
      release_keys(first_key + kKeys >= tile.key_end);
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
  __device__ void release_keys(bool last_of_tile) {
    release(block_.keys_read(keys_.stage));
    keys_.advance();
    if (last_of_tile) release(block_.tile_read());
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
  RingPosition<Shared::kStages> keys_, values_;
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
