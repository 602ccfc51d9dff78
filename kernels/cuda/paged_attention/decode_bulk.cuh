#pragma once
// Decode tiles on GPUs with bulk copies (sm_90 and later), for head dimensions 64 and 128 and blocks of a multiple of 16
// keys: as decode.cuh, but one thread asks for 16 keys or values at once, as a box of the cache.

#include "kernels/cuda/paged_attention/bulk_ring.cuh"
#include "kernels/cuda/paged_attention/decode.cuh"

namespace trireme::cuda {

#if __CUDA_ARCH__ >= 900

template <int kDim, int kBlocks>
__device__ inline void attend_decode_bulk(RunningSoftmax<kDim> (&state)[1], const AttentionArgs& args,
                                          BulkRing<kDim, kBlocks>& ring, AttentionTile& tile, unsigned char* shared,
                                          float* tables, int warp, int lane) {
  using Shared = BulkShared<kDim, kBlocks>;
  bf16* queries = reinterpret_cast<bf16*>(shared + Shared::kQueries);
  bf16* token = reinterpret_cast<bf16*>(shared + Shared::kToken);  // its key, then its value
  const auto found = ring.look_up();
  clip_to_position(tile, args);
  // A token that is appended here is put into its unit when that has come.
  ring.begin(found, args.append.wanted ? INT32_MAX : tile.first_position);
  if (args.append.wanted) prepare_append<kDim>(queries, tables, args, tile);
  const TokenAppend<kDim> append(args, tile, queries, token, token + kDim, tables);
  wait_for_previous_kernel();
  let_next_kernel_start();
  if (args.append.wanted) {
    append.run(warp);
  } else {
    read_queries<kDim>(queries, args, tile);
    ring.begin_new();
  }
  __syncthreads();
  QueryFragments<kDim, 1, kBlocks != kManyDecodeBlocks> query;  // four blocks have no registers for them
  query.assign(queries, lane);
  const int token_at = args.append.wanted && append.place != kNoKey ? tile.first_position : -Shared::kKeys;
  attend_keys<kDim, Shared::kStepKeys>(
      state[0], args, tile, ring.first_key, lane,
      [&](float (&scores)[1][2][4], int key) {
        const uint32_t keys = ring.take(key == ring.first_key);
        if (token_at / Shared::kKeys == key / Shared::kKeys) put_row<kDim>(keys, token_at - key, token, lane);
        multiply_unit_scores(scores, query, keys, lane);
      },
      [&](const float (&scores)[1][2][4], int key) {
        const uint32_t values = ring.take(false);
        if (key < tile.key_begin) clear_rows<kDim>(values, 0, tile.key_begin - key, lane);
        if (key + Shared::kKeys > tile.key_end) clear_rows<kDim>(values, tile.key_end - key, Shared::kKeys, lane);
        if (token_at / Shared::kKeys == key / Shared::kKeys) put_row<kDim>(values, token_at - key, token + kDim, lane);
        multiply_unit_values(state[0], scores, values, lane);
      });
}

#endif

// kBlocks: that run on a processor at a time. keys: see launch.cuh.
template <int kDim, int kBlocks>
__global__ __launch_bounds__(kAttentionThreads, kBlocks) void decode_bulk_attention_kernel(
    const AttentionArgs args, const __grid_constant__ CUtensorMap keys) {
#if __CUDA_ARCH__ >= 900
  using Shared = BulkShared<kDim, kBlocks>;
  extern __shared__ unsigned char shared_bytes[];
  unsigned char* shared = shared_bytes + (-shared_address(shared_bytes) & uint32_t(Shared::kAlignment - 1));
  __shared__ float scratch[Shared::kScratch];
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  AttentionTile tile;
  BulkRing<kDim, kBlocks> ring(args, tile, keys, shared_address(shared), warp, lane);
  if (!take_decode_item(tile, args, int(blockIdx.x) / args.kv_heads, int(blockIdx.x) % args.kv_heads)) return;
  ring.first_key = tile.key_begin / Shared::kKeys * Shared::kKeys + warp * Shared::kKeys;
  RunningSoftmax<kDim> state[1];
  attend_decode_bulk(state, args, ring, tile, shared, scratch, warp, lane);
  state[0].finish(args.exponent_scale);
  float* outputs = reinterpret_cast<float*>(shared);
  write_joined<kDim, kBlocks>(args, tile, state[0], outputs, scratch, warp, lane);
  finish_tile<kDim, kDecodeTileRows>(outputs, args, tile);
#endif
}

}  // namespace trireme::cuda
