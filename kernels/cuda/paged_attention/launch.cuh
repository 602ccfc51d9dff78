#pragma once
// Paged attention on tensor cores: mma.sync m16n8k16, float32 softmax, cp.async (sm_80 and later). One launch does the
// items of one class of a work list (kernels/attention_plan.h), a block per item and KV head. With one split a block
// writes `out`, else a partial, and the last block of the tile adds the partials in order.

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

template <int kDim>
void launch_attention(const AttentionArgs& args, int tile_rows, int64_t capacity, const Stream& stream) {
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
