#pragma once
// Where a block's results go: the output itself, or this split's partial; and the sum of a tile's splits.

#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/paged_attention/softmax.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// Who finishes a tile together: threads of one block, whole warps.
struct WholeBlock {
  static constexpr int kThreads = kAttentionThreads;
  __device__ static int thread() { return int(threadIdx.x); }
  __device__ static void sync() { __syncthreads(); }
};

// Row of the partials where packed row `row` of a tile's split lies.
template <int kRows>
__device__ inline int64_t partial_row(const AttentionArgs& args, const AttentionTile& tile, int split, int row) {
  return (int64_t(tile.partial + split) * args.kv_heads + tile.kv_head) * kRows + row;
}

__device__ inline bf16* output_at(const AttentionArgs& args, const AttentionTile& tile, int row, int column) {
  const int packed = tile.first_packed + row;
  return args.out + int64_t(tile.first_token + packed / args.group) * args.out_stride +
         int64_t(tile.kv_head * args.group + packed % args.group) * args.head_dim + column;
}

__device__ inline void write_output(const AttentionArgs& args, bf16* to, float first, float second) {
  if (args.wide_output) {
    *reinterpret_cast<uint32_t*>(to) = pack_bf16(first, second);
  } else {
    to[0] = __float2bfloat16_rn(first);
    to[1] = __float2bfloat16_rn(second);
  }
}

// Dimensions `column` and `column + 1` of a row, unnormalized, and the row's sum.
template <int kDim, int kRows>
__device__ inline void write_pair(const AttentionArgs& args, const AttentionTile& tile, int row, int column,
                                  float first, float second, float sum) {
  if (tile.num_splits > 1) {
    float* to = args.partial_out + partial_row<kRows>(args, tile, tile.split, row) * kDim + column;
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
  } else if (column < args.head_dim) {
    write_output(args, output_at(args, tile, row, column), first / sum, second / sum);
  }
}

// For the merge. maximum: in units of log 2.
template <int kRows>
__device__ inline void write_state(const AttentionArgs& args, const AttentionTile& tile, int row, float maximum,
                                   float sum) {
  if (tile.num_splits > 1)
    args.partial_state[partial_row<kRows>(args, tile, tile.split, row)] = make_float2(maximum, sum);
}

// weights[row * num_splits + s] = 2^(m_s - m) / sum_s 2^(m_s - m) l_s.   A warp per row.
// state(split, row): maximum and sum.
template <typename Team, typename State>
__device__ inline void split_weights(float* weights, int rows, int splits, const State& state_of) {
  const int lane = Team::thread() % kWarpSize;
  for (int row = Team::thread() / kWarpSize; row < rows; row += Team::kThreads / kWarpSize) {
    float* row_weights = weights + row * splits;
    float top = -INFINITY, sum = 0;
    for (int s = lane; s < splits; s += kWarpSize)
      top = fmaxf(top, state_of(s, row).x);
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, offset));
    for (int s = lane; s < splits; s += kWarpSize) {
      const float2 state = state_of(s, row);
      row_weights[s] = state.y == 0 ? 0.0f : exp2_fast(state.x - top);
      sum = fmaf(row_weights[s], state.y, sum);
    }
    const float inverse = 1.0f / warp_sum(sum);
    for (int s = lane; s < splits; s += kWarpSize) row_weights[s] *= inverse;
  }
}

// out[row] = sum_s weights[row, s] o_s, over the splits in ascending order. weights: [rows, splits] in shared memory.
template <int kDim, int kRows, typename Team>
__device__ inline void merge_splits(float* weights, const AttentionArgs& args, const AttentionTile& tile) {
  const int rows = tile.packed_end - tile.first_packed, splits = tile.num_splits;
  split_weights<Team>(weights, rows, splits, [&](int split, int row) {
    return __ldcg(args.partial_state + partial_row<kRows>(args, tile, split, row));
  });
  Team::sync();
  const int64_t step = int64_t(args.kv_heads) * kRows * kDim / 4;  // to the next split, in float4
  for (int i = Team::thread(); i < rows * (kDim / 4); i += Team::kThreads) {
    const int row = i / (kDim / 4), column = i % (kDim / 4) * 4;
    if (column >= args.head_dim) continue;
    const auto* from = reinterpret_cast<const float4*>(
        args.partial_out + partial_row<kRows>(args, tile, 0, row) * kDim + column);
    float4 total = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int s = 0; s < splits; ++s) {
      const float weight = weights[row * splits + s];
      const float4 value = __ldcg(from + s * step);
      total.x = fmaf(weight, value.x, total.x), total.y = fmaf(weight, value.y, total.y);
      total.z = fmaf(weight, value.z, total.z), total.w = fmaf(weight, value.w, total.w);
    }
    bf16* to = output_at(args, tile, row, column);
    write_output(args, to, total.x, total.y);
    write_output(args, to + 2, total.z, total.w);
  }
}

// After a block has written its partials: the last block of the tile to come here adds them up. The counter wraps to
// 0, so that the next launch finds it as this one did. `shared`: room for the weights; nobody reads it any more.
template <int kDim, int kRows, typename Team = WholeBlock>
__device__ inline void finish_tile(float* shared, const AttentionArgs& args, const AttentionTile& tile) {
  if (tile.num_splits == 1) return;
  __shared__ bool last;
  __threadfence();  // this thread's partials, before the block is counted
  Team::sync();
  if (Team::thread() == 0) {
    unsigned* counter = args.arrivals + int64_t(tile.partial) * args.kv_heads + tile.kv_head;
    last = atomicInc(counter, unsigned(tile.num_splits - 1)) == unsigned(tile.num_splits - 1);
  }
  Team::sync();
  if (!last) return;
  __threadfence();  // the others' partials, after they were counted
  merge_splits<kDim, kRows, Team>(shared, args, tile);
}

}  // namespace trireme::cuda
