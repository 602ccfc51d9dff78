#pragma once
// Decode tiles of few rows, whose end is all latency: the splits of a tile are the blocks of one cluster (a group of
// the work list, kernels/attention_plan.h) and add up through shared memory instead of global memory and a counter.
// The arithmetic is that of merge_splits, in the same order.

#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/paged_attention/decode.cuh"

namespace trireme::cuda {

// What a block receives of all its tile's splits: its share of the row pairs (two neighbouring dimensions of a row),
// and every row's maximum and sum.
template <int kDim>
struct GroupExchange {
  static constexpr int kPairs = kDecodeTileRows * kDim / 2 + kDecodeGroup;  // shares are rounded up
  float2 pairs[kPairs];                           // [splits, share]
  float2 states[kDecodeGroup * kDecodeTileRows];  // [splits, rows of a tile]
  float weights[kDecodeGroup * kDecodeTileRows];  // [rows, splits]
};

template <int kDim>
struct GroupShare {
  int splits, pairs, share;
  __device__ GroupShare(const AttentionTile& tile)
      : splits(tile.num_splits),
        pairs((tile.packed_end - tile.first_packed) * (kDim / 2)),
        share((pairs + splits - 1) / splits) {}
};

// This split's results, each to the block that adds it up.
template <int kDim>
struct GroupSender {
  GroupExchange<kDim>& exchange;
  GroupShare<kDim> of;
  int split;
  __device__ void pair(int row, int column, float first, float second) const {
    const int index = row * (kDim / 2) + column / 2, to = index / of.share;
    *peer_shared(exchange.pairs + split * of.share + index - to * of.share, to) = make_float2(first, second);
  }
  __device__ void state(int row, float maximum, float sum) const {
    for (int to = 0; to < of.splits; ++to)
      *peer_shared(exchange.states + split * kDecodeTileRows + row, to) = make_float2(maximum, sum);
  }
};

// This block's share of the tile's output.
template <int kDim>
__device__ inline void merge_group(GroupExchange<kDim>& exchange, const AttentionArgs& args,
                                   const AttentionTile& tile) {
  const GroupShare<kDim> of(tile);
  split_weights<WholeBlock>(exchange.weights, tile.packed_end - tile.first_packed, of.splits, [&](int split, int row) {
    return exchange.states[split * kDecodeTileRows + row];
  });
  __syncthreads();
  for (int i = int(threadIdx.x); i < of.share; i += kAttentionThreads) {
    const int index = tile.split * of.share + i, row = index / (kDim / 2), column = index % (kDim / 2) * 2;
    if (index >= of.pairs || column >= args.head_dim) continue;
    float first = 0, second = 0;
    for (int s = 0; s < of.splits; ++s) {
      const float weight = exchange.weights[row * of.splits + s];
      const float2 pair = exchange.pairs[s * of.share + i];
      first = fmaf(weight, pair.x, first), second = fmaf(weight, pair.y, second);
    }
    write_output(args, output_at(args, tile, row, column), first, second);
  }
}

// Launched in clusters of kDecodeGroup blocks: a KV head's kDecodeGroup items in a row.
template <int kDim>
__global__ __launch_bounds__(kAttentionThreads, kAttentionBlocksPerProcessor) void decode_group_attention_kernel(
    const AttentionArgs args) {
  using Shared = DecodeShared<kDim, bf16, kGroupedBlocks>;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  bf16* queries = reinterpret_cast<bf16*>(shared_bytes);
  bf16* rings = queries + Shared::kQuery;
  __shared__ float scratch[Shared::kScratch];
  __shared__ GroupExchange<kDim> exchange;
  AttentionTile tile;
  const int cluster = int(blockIdx.x) / kDecodeGroup;
  if (!take_decode_item(tile, args, cluster / args.kv_heads * kDecodeGroup + int(blockIdx.x) % kDecodeGroup,
                        cluster % args.kv_heads))
    return;
  cluster_arrive();  // others may write to this block's shared memory once it runs
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  RunningSoftmax<kDim> state[1];
  attend_decode<kDim, kGroupedBlocks>(state, args, tile, queries, rings, scratch, warp, lane);
  state[0].finish(args.exponent_scale);
  float* outputs = reinterpret_cast<float*>(rings);
  cluster_wait();
  if (tile.grouped && tile.num_splits > 1) {
    const GroupSender<kDim> sender{exchange, GroupShare<kDim>(tile), tile.split};
    join_warps<kDim, kGroupedBlocks>(
        tile, state[0], outputs, scratch, warp, lane,
        [&](int row, int column, float first, float second, float) { sender.pair(row, column, first, second); },
        [&](int row, float maximum, float sum) { sender.state(row, maximum, sum); });
    cluster_arrive();
    cluster_wait();
    merge_group<kDim>(exchange, args, tile);
  } else {
    write_joined<kDim, kGroupedBlocks>(args, tile, state[0], outputs, scratch, warp, lane);
    finish_tile<kDim, kDecodeTileRows>(outputs, args, tile);
  }
}

}  // namespace trireme::cuda
