#pragma once

#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/cuda/common/tensor_map.h"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/paged_attention/prefill_hopper.cuh"

namespace trireme::cuda {

// Boxes of [tokens][heads][64] of q and of [1][keys][64] of the cache's rows.
template <int kDim>
HopperMaps hopper_maps(const AttentionArgs& args) {
  constexpr uint32_t kRows = HopperShared<kDim>::kRows, kKeys = HopperShared<kDim>::kKeys, kColumns = kPanelColumns;
  constexpr uint64_t kRowBytes = kDim * sizeof(bf16);
  const auto group = uint32_t(args.group), kv_heads = uint32_t(args.kv_heads), block_size = uint32_t(args.block_size);
  const uint32_t box_tokens = kRows % group == 0 ? kRows / group : 1, box_keys = std::gcd(block_size, kKeys);
  const uint64_t heads = kv_heads * group, cache_rows = uint64_t(args.num_blocks) * 2 * kv_heads * block_size;
  const uint64_t token_bytes = args.num_tokens > 1 ? uint64_t(args.q_stride) * sizeof(bf16) : heads * kRowBytes;
  const std::array<uint64_t, 3> queries = {kDim, heads, uint64_t(args.num_tokens)}, keys = {kDim, cache_rows, 1};
  const std::array<uint64_t, 2> query_strides = {kRowBytes, token_bytes},
                                key_strides = {kRowBytes, cache_rows * kRowBytes};
  const auto map = [](const void* data, const auto& sizes, const auto& strides, uint32_t rows, uint32_t outer) {
    return make_tensor_map(data, sizes, strides, std::array<uint32_t, 3>{kColumns, rows, outer});
  };
  return {.query_boxes = map(args.q, queries, query_strides, std::min(group, kRows), box_tokens),
          .query_rows = map(args.q, queries, query_strides, 1, 1),
          .key_boxes = map(args.kv, keys, key_strides, box_keys, 1),
          .key_rows = map(args.kv, keys, key_strides, 1, 1),
          .box_tokens = int(box_tokens),
          .box_keys = int(box_keys),
          .no_row = int(cache_rows)};
}

template <int kDim>
void launch_hopper_prefill(const AttentionArgs& args, int64_t capacity, const Stream& stream) {
  const auto kernel = hopper_prefill_kernel<kDim>;
  constexpr size_t kBytes = HopperShared<kDim>::kBytes;
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(kBytes)));
  const int64_t blocks = std::min<int64_t>(capacity * args.kv_heads, multiprocessor_count(stream.device()));
  launch_dependent(kernel, grid_size(blocks), kHopperThreads, kBytes, stream, args, hopper_maps<kDim>(args));
}

}  // namespace trireme::cuda
