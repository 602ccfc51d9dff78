#pragma once
// Decode tiles on GPUs with bulk copies (sm_90 and later): as decode.cuh, but keys and values come 16 at a time, as boxes
// of a tensor map, by one thread.

#include "kernels/cuda/common/bulk_copy.cuh"
#include "kernels/cuda/paged_attention/decode.cuh"

namespace trireme::cuda {

inline constexpr int kPanelElements = 64;  // of a row, in 128 bytes of shared memory whose pieces are swizzled

template <int kDim, int kBlocks>
struct BulkShared {
  static constexpr int kKeys = 16;                             // of a warp's step
  static constexpr int kStepKeys = kKeys * kAttentionWarps;    // of the block's
  static constexpr int kPanels = kDim / kPanelElements;
  static constexpr int kPanelBytes = kKeys * kPanelElements * int(sizeof(bf16));
  static constexpr int kUnitBytes = kPanels * kPanelBytes;     // K or V of a step
  static constexpr int kUnits = (kBlocks == 4 ? 3 : kBlocks == 3 ? 4 : 6) * 128 / kDim;  // of a warp's ring
  static constexpr int kRings = kAttentionWarps * kUnits * kUnitBytes;
  static constexpr int kQueries = kRings;                                                     // offsets
  static constexpr int kToken = kQueries + kDecodeTileRows * TileRows<kDim>::kStride * int(sizeof(bf16));
  static constexpr int kBarriers = kToken + 2 * kDim * int(sizeof(bf16));
  static constexpr int kAlignment = 1024;
  static constexpr int kBytes = kAlignment + kBarriers + kAttentionWarps * kUnits * 8;
  static constexpr int kStates = 2 * kAttentionWarps * kDecodeTileRows;
  static constexpr int kScratch = kDim > kStates ? kDim : kStates;
  static_assert(sizeof(float) * kAttentionWarps * kDecodeTileRows * (kDim + 8) <= kRings);
  static_assert(sizeof(float) * kDecodeTileRows * kMaxDecodeSplits <= kRings);
};

#if __CUDA_ARCH__ >= 900

__device__ inline void copy_box(uint32_t shared, const void* map, int c0, int c1, int c2, uint32_t barrier,
                                uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "l"(policy)
      : "memory");
}

// The 16-byte piece `piece` of a row of a unit.
template <int kDim>
__device__ inline uint32_t swizzled_piece(int row, int piece) {
  return uint32_t(piece / 8 * 2048 + row * 128 + ((piece % 8 ^ row % 8) << 4));
}

__device__ inline void load_matrices_at(uint32_t (&out)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_matrices_transposed_at(uint32_t (&out)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row)
               : "memory");
}

template <int kDim, bool kHeld>
__device__ inline void multiply_unit_scores(float (&scores)[1][2][4], const QueryFragments<kDim, 1, kHeld>& queries,
                                            uint32_t keys, int lane) {
  const int row = lane % 8 + lane / 16 * 8;
  const uint32_t at = keys + row * 128 + ((row % 8 ^ lane / 8 % 2) << 4);
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[0][n][i] = 0;
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[4], b[4];
    queries.get(a, 0, d);
    load_matrices_at(b, (at ^ (d % 64 / 8 << 4)) + d / 64 * 2048);
    multiply_add_16x8x16(scores[0][0], a, b[0], b[1]);
    multiply_add_16x8x16(scores[0][1], a, b[2], b[3]);
  }
}

template <int kDim>
__device__ inline void multiply_unit_values(RunningSoftmax<kDim>& state, const float (&probabilities)[1][2][4],
                                            uint32_t values, int lane) {
  const int row = lane % 16;
  const uint32_t at = values + row * 128 + ((row % 8 ^ lane / 16) << 4);
  const float(&low)[4] = probabilities[0][0];
  const float(&high)[4] = probabilities[0][1];
  const uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]),
                         pack_bf16(high[2], high[3])};
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t b[4];
    load_matrices_transposed_at(b, (at ^ (d % 64 / 8 << 4)) + d / 64 * 2048);
    multiply_add_16x8x16(state.output[d / 8], a, b[0], b[1]);
    multiply_add_16x8x16(state.output[d / 8 + 1], a, b[2], b[3]);
  }
}

// A warp's keys and values on their way. Unit 2 s is K of its run s, unit 2 s + 1 is V. The lane that knows a run's place
// asks for it.
template <int kDim, int kBlocks, int kStepKeys = BulkShared<kDim, kBlocks>::kStepKeys>
struct BulkRing {
  using Shared = BulkShared<kDim, kBlocks>;
  static constexpr int kUnits = Shared::kUnits;
  const AttentionArgs& args;
  const AttentionTile& tile;
  const CUtensorMap* map;
  uint32_t ring, barriers;
  uint64_t policy;
  int lane, first_key;
  int asked_run = 0, asked_slot = 0;
  bool asks_values = false;
  int row = 0;             // of the cache: K of run asked_run / 32 * 32 + lane
  int32_t next_block = 0;  // table entry of 32 runs later
  int slot = 0;
  uint32_t phase = 0;

  __device__ int key_of(int run) const { return first_key + run * kStepKeys; }
  __device__ int32_t block_of(int run) const {
    const int last = int(min(args.table_stride * args.block_size, int64_t(INT32_MAX))) - 1;
    const int key = key_of(run);
    return key < tile.key_end ? table_entry(args, tile, min(key, last)) : 0;
  }
  __device__ int row_of(int run, int32_t block) const {
    return (block * 2 * args.kv_heads + tile.kv_head) * args.block_size + key_of(run) % args.block_size;
  }
  // Units of keys from `end` on are left for later.
  __device__ void ask_before(int end, int units) {
    for (; units > 0 && key_of(asked_run) + Shared::kKeys <= end; --units) ask();
  }
  __device__ void ask() {
    if (key_of(asked_run) < tile.key_end && lane == asked_run % kWarpSize) {
      const uint32_t barrier = barriers + asked_slot * 8;
      arrive_expecting(barrier, Shared::kUnitBytes);
      copy_box(ring + asked_slot * Shared::kUnitBytes, map, 0,
               row + (asks_values ? args.kv_heads * args.block_size : 0), 0, barrier, policy);
    }
    if (++asked_slot == kUnits) asked_slot = 0;
    if (asks_values && ++asked_run % kWarpSize == 0) {
      row = row_of(asked_run + lane, next_block);
      next_block = block_of(asked_run + kWarpSize + lane);
    }
    asks_values = !asks_values;
  }
  // Waits for the next unit; the one before has been used by then.
  __device__ uint32_t take(bool first) {
    wait_for_phase(barriers + slot * 8, phase);
    __syncwarp();
    if (!first) ask();
    const uint32_t unit = ring + slot * Shared::kUnitBytes;
    if (++slot == kUnits) slot = 0, phase ^= 1;
    return unit;
  }
};

// Of the run that ends with keys that are not the tile's: zeros for their values, so that a probability of zero never
// meets a NaN.
template <int kDim>
__device__ inline void clear_values(uint32_t unit, int first_row, int lane) {
  for (int i = lane; i < (16 - first_row) * (kDim / 8); i += kWarpSize) {
    const uint32_t at = unit + swizzled_piece<kDim>(first_row + i / (kDim / 8), i % (kDim / 8));
    asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
}
template <int kDim>
__device__ inline void put_row(uint32_t unit, int row, const bf16* from, int lane) {
  if (lane < kDim / 8) {
    const uint4 bits = reinterpret_cast<const uint4*>(from)[lane];
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(unit + swizzled_piece<kDim>(row, lane)), "r"(bits.x),
                 "r"(bits.y), "r"(bits.z), "r"(bits.w)
                 : "memory");
  }
}

// The tile's heads, normed and rotated: q into `queries`; the block's own token's k and v into the cache and `token`.
template <int kDim>
struct BulkAppend {
  const AttentionArgs& args;
  const AttentionTile& tile;
  bf16 *queries, *token;
  const float *cosines, *sines;
  uint32_t place;

  __device__ const bf16* source(int j) const {
    const int group = args.group, heads = group * args.kv_heads;
    const int head = j < group ? tile.kv_head * group + j : heads + (j - group) * args.kv_heads + tile.kv_head;
    return args.q + tile.first_token * args.q_stride + head * args.head_dim;
  }
  __device__ void finish(const RotaryHead& head, int j) const {
    const RotaryHeadArgs& rotary = args.append.rotary;
    if (j < args.group)
      return head.finish(rotary, source(j), queries + j * TileRows<kDim>::kStride, nullptr, HeadKind::query, cosines,
                         sines);
    const int part = j - args.group;
    bf16* cached = args.append.kv + tile.kv_head * args.head_stride + part * args.value_offset +
                   int64_t(place) * TileRows<kDim>::kPieceElements;
    head.finish(rotary, source(j), cached, token + part * kDim, part ? HeadKind::value : HeadKind::key, cosines, sines);
  }
  __device__ void run(int warp) const {
    const int heads = args.group + (place != kNoKey ? 2 : 0);
    for (int j = warp; j < heads; j += 2 * kAttentionWarps) {
      const int other = j + kAttentionWarps;
      RotaryHead first(args.append.rotary), second(args.append.rotary);
      first.load(args.append.rotary, source(j));
      if (other < heads) second.load(args.append.rotary, source(other));
      finish(first, j);
      if (other < heads) finish(second, other);
    }
  }
};

template <int kDim, int kBlocks>
__device__ inline void attend_decode_bulk(RunningSoftmax<kDim> (&state)[1], const AttentionArgs& args,
                                          const CUtensorMap* map, AttentionTile& tile, unsigned char* shared,
                                          float* tables, int warp, int lane) {
  using Shared = BulkShared<kDim, kBlocks>;
  bf16 *queries = reinterpret_cast<bf16*>(shared + Shared::kQueries),
       *token = reinterpret_cast<bf16*>(shared + Shared::kToken);
  const int first_key = tile.key_begin / Shared::kKeys * Shared::kKeys + warp * Shared::kKeys;
  BulkRing<kDim, kBlocks> ring{args, tile, map,
                               shared_address(shared) + warp * Shared::kUnits * Shared::kUnitBytes,
                               shared_address(shared) + Shared::kBarriers + warp * Shared::kUnits * 8,
                               read_once_policy(args.evict_first), lane, first_key};
  const int32_t block = ring.block_of(lane);
  ring.next_block = ring.block_of(kWarpSize + lane);
  if (lane == 0) {
    for (int u = 0; u < Shared::kUnits; ++u) init_barrier(ring.barriers + u * 8, 1);
    publish_barriers();
  }
  clip_to_position(tile, args);
  ring.row = ring.row_of(lane, block);
  __syncwarp();
  order_bulk_copies();
  const int old_end = args.append.wanted ? tile.key_end + Shared::kKeys : tile.first_position;
#pragma unroll 1
  for (int u = 0; u < Shared::kUnits && ring.key_of(u / 2) + Shared::kKeys <= old_end; ++u) ring.ask();
  if (args.append.wanted) prepare_append<kDim>(queries, tables, args, tile);
  const BulkAppend<kDim> append{args, tile, queries, token, tables, tables + args.append.rotary.half,
                                key_place<bf16>(args, tile, tile.first_position)};
  wait_for_previous_kernel();
  let_next_kernel_start();
  stamp(args, 1);
  if (args.append.wanted) {
    append.run(warp);
  } else {
    order_bulk_copies();
    read_queries<kDim>(queries, args, tile);
  }
#pragma unroll 1
  while (2 * ring.asked_run + (ring.asks_values ? 1 : 0) < Shared::kUnits) ring.ask();
  __syncthreads();
  QueryFragments<kDim, 1, kBlocks != kManyDecodeBlocks> query;
  query.assign(queries, lane);
  const DecodeRows rows(tile, args, lane);
  for (int key = first_key; key < tile.key_end; key += Shared::kStepKeys) {
    float scores[1][2][4];
    const bool has_token = args.append.wanted && tile.first_position - key < Shared::kKeys && append.place != kNoKey &&
                           tile.first_position >= key;
    const uint32_t keys = ring.take(key == first_key);
    if (key == first_key) stamp(args, 2);
    if (has_token) {
      put_row<kDim>(keys, tile.first_position - key, token, lane);
      __syncwarp();
    }
    multiply_unit_scores(scores, query, keys, lane);
    if (args.soft_cap > 0) cap_scores(scores[0], args);
    const bool all_visible = key >= tile.key_begin && key + Shared::kKeys - 1 <= rows.lowest &&
                             key + Shared::kKeys <= tile.key_end &&
                             (args.window == 0 || key > rows.highest - args.window);
    if (!all_visible) mask_scores(scores[0], rows.positions, args.window, key, tile.key_begin, tile.key_end, lane);
    state[0].update(scores[0], args.exponent_scale);
    const uint32_t values = ring.take(false);
    if (key + Shared::kKeys > tile.key_end || has_token) {
      if (key + Shared::kKeys > tile.key_end) clear_values<kDim>(values, tile.key_end - key, lane);
      if (has_token) put_row<kDim>(values, tile.first_position - key, token + kDim, lane);
      __syncwarp();
    }
    multiply_unit_values(state[0], scores, values, lane);
  }
}

#endif

template <int kDim, int kBlocks>
__global__ __launch_bounds__(kAttentionThreads, kBlocks) void decode_bulk_attention_kernel(
    const AttentionArgs args, const __grid_constant__ CUtensorMap map) {
#if __CUDA_ARCH__ >= 900
  using Shared = BulkShared<kDim, kBlocks>;
  stamp(args, 0);
  if (threadIdx.x == 0) fetch_tensor_map(&map);
  extern __shared__ unsigned char shared_bytes[];
  unsigned char* shared =
      shared_bytes + (-shared_address(shared_bytes) & uint32_t(Shared::kAlignment - 1));
  __shared__ float scratch[Shared::kScratch];
  AttentionTile tile;
  if (!take_decode_item(tile, args, int(blockIdx.x) / args.kv_heads, int(blockIdx.x) % args.kv_heads)) return;
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  RunningSoftmax<kDim> state[1];
  attend_decode_bulk<kDim, kBlocks>(state, args, &map, tile, shared, scratch, warp, lane);
  state[0].finish(args.exponent_scale);
  stamp(args, 3);
  float* outputs = reinterpret_cast<float*>(shared);
  write_joined<kDim, kBlocks>(args, tile, state[0], outputs, scratch, warp, lane);
  finish_tile<kDim, kDecodeTileRows>(outputs, args, tile);
  stamp(args, 4);
#endif
}

}  // namespace trireme::cuda
