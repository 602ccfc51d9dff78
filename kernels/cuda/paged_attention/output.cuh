#pragma once
// Where a block's results go: the output itself, or this split's partial.

#include "kernels/cuda/paged_attention/softmax.cuh"
#include "kernels/cuda/paged_attention/tile.cuh"

namespace trireme::cuda {

// Where packed row `row` of the tile ends up, dimensions `column` and `column + 1`.
__device__ inline void write_pair(const AttentionArgs& args, const AttentionTile& tile, int row, int column,
                                  float first, float second, float sum) {
  const int packed = tile.first_packed + row;
  if (packed >= tile.num_packed || column >= args.head_dim) return;
  const int64_t token = tile.first_token + packed / args.group;
  const int head = tile.kv_head * args.group + packed % args.group;
  if (args.num_splits > 1) {
    const int64_t partial = (token * args.q_heads + head) * args.num_splits + tile.split;
    *reinterpret_cast<float2*>(args.partial_out + partial * args.head_dim + column) = make_float2(first, second);
    return;
  }
  bf16* to = args.out + token * args.out_stride + int64_t(head) * args.head_dim + column;
  if (args.wide_output) {
    *reinterpret_cast<uint32_t*>(to) = pack_bf16(first / sum, second / sum);
  } else {
    to[0] = __float2bfloat16_rn(first / sum);
    to[1] = __float2bfloat16_rn(second / sum);
  }
}

// The split's maximum and sum of a row, for the merge. sum == 0: the row sees no key of this split.
__device__ inline void write_state(const AttentionArgs& args, const AttentionTile& tile, int row, float maximum,
                                   float sum) {
  const int packed = tile.first_packed + row;
  if (args.num_splits == 1 || packed >= tile.num_packed) return;
  const int64_t token = tile.first_token + packed / args.group;
  const int head = tile.kv_head * args.group + packed % args.group;
  args.partial_state[(token * args.q_heads + head) * args.num_splits + tile.split] = make_float2(maximum, sum);
}

// kRowWarps == 4: every warp owns its rows.
template <int kDim>
__device__ inline void write_rows(const AttentionArgs& args, const AttentionTile& tile,
                                  const RunningSoftmax<kDim>& state, int warp, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp * 16 + lane / 4 + r * 8;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      write_pair(args, tile, row, n * 8 + lane % 4 * 2, state.output[n][2 * r], state.output[n][2 * r + 1],
                 state.sum[r]);
    if (lane % 4 == 0) write_state(args, tile, row, state.maximum[r], state.sum[r]);
  }
}

// kRowWarps == 1: the four warps hold the same 16 rows over different keys. `outputs`: [warps][16][kDim].
template <int kDim>
__device__ inline void write_merged(const AttentionArgs& args, const AttentionTile& tile,
                                    const RunningSoftmax<kDim>& state, float* outputs, int warp, int lane) {
  __shared__ float maxima[kAttentionWarps][16], sums[kAttentionWarps][16];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + r * 8;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      *reinterpret_cast<float2*>(outputs + (warp * 16 + row) * kDim + n * 8 + lane % 4 * 2) =
          make_float2(state.output[n][2 * r], state.output[n][2 * r + 1]);
    if (lane % 4 == 0) maxima[warp][row] = state.maximum[r], sums[warp][row] = state.sum[r];
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < 16 * kDim / 2; i += kAttentionThreads) {
    const int row = i / (kDim / 2), column = i % (kDim / 2) * 2;
    float top = -INFINITY;
    for (int w = 0; w < kAttentionWarps; ++w) top = fmaxf(top, maxima[w][row]);
    const float reference = top == -INFINITY ? 0.0f : top;
    float sum = 0, first = 0, second = 0;
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float weight = exp2f(maxima[w][row] - reference);
      const float2 pair = *reinterpret_cast<const float2*>(outputs + (w * 16 + row) * kDim + column);
      sum += weight * sums[w][row];
      first += weight * pair.x;
      second += weight * pair.y;
    }
    write_pair(args, tile, row, column, first, second, sum);
    if (column == 0) write_state(args, tile, row, top, sum);
  }
}

}  // namespace trireme::cuda
