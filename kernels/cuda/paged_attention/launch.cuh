#pragma once
// Paged attention on tensor cores: mma.sync m16n8k16, float32 softmax, cp.async (sm_80 and later), or bulk copies for
// most decode tiles on sm_90 and later. One launch does the
// items of one class of a work list (kernels/attention_plan.h), a block per item and KV head. With one split a block
// writes `out`, else a partial, and the last block of the tile adds the partials in order.

#include <array>

#include "kernels/cuda/common/tensor_map.h"
#include "kernels/cuda/paged_attention/decode_bulk.cuh"
#include "kernels/cuda/paged_attention/decode_group.cuh"
#include "kernels/cuda/paged_attention/prefill.cuh"

namespace trireme::cuda {

inline void launch_attention_kernel(void (*kernel)(AttentionArgs), size_t shared_bytes, const AttentionArgs& args,
                                    int64_t capacity, const Stream& stream, int cluster = 1) {
  // Properties of the function, not of the stream; their cost is that of reading a flag.
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)));
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared));
  const int64_t blocks = ceil_div(capacity, cluster) * cluster * args.kv_heads;
  launch_dependent_clusters(kernel, cluster, grid_size(blocks), kAttentionThreads, shared_bytes, stream, args);
}

// Boxes of [panels][16 keys][64] of the cache's rows. L2 is to fetch no more than a line at a time: where it fetched 256
// bytes, the same reads took 5 to 7 % longer.
template <int kDim, int kBlocks>
void launch_decode_bulk(const AttentionArgs& args, int64_t capacity, const Stream& stream) {
  using Shared = BulkShared<kDim, kBlocks>;
  const auto kernel = decode_bulk_attention_kernel<kDim, kBlocks>;
  const uint64_t rows = uint64_t(args.num_blocks) * 2 * uint64_t(args.kv_heads) * uint64_t(args.block_size);
  const std::array<uint64_t, 3> sizes = {kUnitPanelColumns, rows, Shared::kPanels};
  const std::array<uint64_t, 2> strides = {kDim * sizeof(bf16), kUnitPanelColumns * sizeof(bf16)};
  const std::array<uint32_t, 3> box = {kUnitPanelColumns, Shared::kKeys, Shared::kPanels};
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shared::kBytes));
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared));
  launch_dependent(kernel, grid_size(capacity * args.kv_heads), kAttentionThreads, Shared::kBytes, stream, args,
                   make_tensor_map(args.kv, sizes, strides, box, CU_TENSOR_MAP_L2_PROMOTION_L2_128B));
}

template <int kDim>
void launch_attention(const AttentionArgs& args, int tile_rows, int64_t capacity, const Stream& stream) {
  if constexpr (kDim == 64 || kDim == 128) {
    if (tile_rows == kDecodeTileRows && args.decode_bulk && !args.decode_groups && args.head_dim == kDim) {
      if (args.decode_blocks == kManyDecodeBlocks)
        return launch_decode_bulk<kDim, kManyDecodeBlocks>(args, capacity, stream);
      return launch_decode_bulk<kDim, kAttentionBlocksPerProcessor>(args, capacity, stream);
    }
  }
  if constexpr (kDim <= kMaxManyBlocksHeadDim) {
    if (tile_rows == kDecodeTileRows && args.decode_blocks == kManyDecodeBlocks)
      return launch_attention_kernel(decode_attention_kernel<kDim, kManyDecodeBlocks>,
                                     DecodeShared<kDim, bf16, kManyDecodeBlocks>::kBytes, args, capacity, stream);
    if (tile_rows == kDecodeTileRows && args.decode_groups)
      return launch_attention_kernel(decode_group_attention_kernel<kDim>,
                                     DecodeShared<kDim, bf16, kGroupedBlocks>::kBytes, args, capacity, stream,
                                     kDecodeGroup);
  }
  if (tile_rows == kDecodeTileRows)
    return launch_attention_kernel(decode_attention_kernel<kDim, kAttentionBlocksPerProcessor>,
                                   DecodeShared<kDim, bf16, kAttentionBlocksPerProcessor>::kBytes, args, capacity,
                                   stream);
  if constexpr (kDim <= 128) {
    if (tile_rows == kLargePrefillTileRows)
      return launch_attention_kernel(prefill_attention_kernel<kDim, 2>, PrefillShared<kDim, 2, bf16>::kBytes, args,
                                     capacity, stream);
  }
  CHECK_EQ(tile_rows, kPrefillTileRows) << "paged_attention: rows of a tile";
  launch_attention_kernel(prefill_attention_kernel<kDim, 1>, PrefillShared<kDim, 1, bf16>::kBytes, args, capacity,
                          stream);
}

}  // namespace trireme::cuda
