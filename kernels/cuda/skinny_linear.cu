#include "kernels/cuda/skinny_linear.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kWarps = 4;           // of a block
constexpr int kRows = 2;            // output features of one team of warps
constexpr int kUnroll = 4;          // wide loads per row in flight in every lane
constexpr int64_t kLongRow = 2048;  // in_features from which a whole block shares a team's rows

template <typename Out>
struct SkinnyArgs {
  Out* out;
  const bf16 *x, *weight, *bias;  // bias may be null
  int64_t out_stride, x_stride;
  int tokens, out_features, in_features;
};

template <int kWidth>
struct Bits;
template <>
struct Bits<8> {
  uint4 data;
  __device__ void read(const bf16* from) { data = load_streaming(from); }
  __device__ void widen(float (&values)[8]) const { unpack(data, values); }
};
template <>
struct Bits<1> {
  bf16 data;
  __device__ void read(const bf16* from) { data = *from; }
  __device__ void widen(float (&values)[1]) const { values[0] = __bfloat162float(data); }
};

// sums[r][t] += weights of row r times x[token t], for kWidth consecutive k.
template <int kTokens, int kWidth>
__device__ inline void accumulate(float (&sums)[kRows][kTokens], const Bits<kWidth> (&weights)[kRows],
                                  const bf16* const (&x)[kTokens], int k) {
  float w[kRows][kWidth];
#pragma unroll
  for (int r = 0; r < kRows; ++r) weights[r].widen(w[r]);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    float values[kWidth];
    load(x[t] + k, values);
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sums[r][t] = fmaf(w[r][i], values[i], sums[r][t]);
  }
}

// A lane's share of the sums: k = lane * kWidth, then on by the team's width, kUnroll loads at a time.
template <int kTokens, int kWidth, int kTeamWarps>
__device__ inline void sum_over_k(float (&sums)[kRows][kTokens], const bf16* const (&rows)[kRows],
                                  const bf16* const (&x)[kTokens], int team_lane, int in_features) {
  constexpr int kStep = kTeamWarps * kWarpSize * kWidth;
  int k = team_lane * kWidth;
  for (; k + (kUnroll - 1) * kStep < in_features; k += kUnroll * kStep) {
    Bits<kWidth> weights[kUnroll][kRows];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
#pragma unroll
      for (int r = 0; r < kRows; ++r) weights[u][r].read(rows[r] + k + u * kStep);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) accumulate<kTokens, kWidth>(sums, weights[u], x, k + u * kStep);
  }
  for (; k < in_features; k += kStep) {
    Bits<kWidth> weights[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) weights[r].read(rows[r] + k);
    accumulate<kTokens, kWidth>(sums, weights, x, k);
  }
}

template <typename Out>
__device__ inline void store_sum(const SkinnyArgs<Out>& args, int token, int row, float sum) {
  if (token >= args.tokens || row >= args.out_features) return;
  if (args.bias) sum += __bfloat162float(args.bias[row]);
  store_one(args.out + token * args.out_stride + row, sum);
}

// A team of kTeamWarps warps (1 or the whole block) makes kRows features of kTokens tokens.
template <typename Out, int kTokens, int kWidth, int kTeamWarps>
__global__ __launch_bounds__(kWarps* kWarpSize) void skinny_linear_kernel(SkinnyArgs<Out> args) {
  __shared__ float partials[kWarps][kRows * kTokens];
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  const int team = int(blockIdx.x) * (kWarps / kTeamWarps) + warp / kTeamWarps;
  const int first_row = team * kRows, first_token = int(blockIdx.y) * kTokens;
  if (first_row >= args.out_features) return;  // a team shares no barrier with another

  const bf16* rows[kRows];
  const bf16* x[kTokens];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    rows[r] = args.weight + int64_t(min(first_row + r, args.out_features - 1)) * args.in_features;
#pragma unroll
  for (int t = 0; t < kTokens; ++t) x[t] = args.x + min(first_token + t, args.tokens - 1) * args.x_stride;

  float sums[kRows][kTokens] = {};
  sum_over_k<kTokens, kWidth, kTeamWarps>(sums, rows, x, warp % kTeamWarps * kWarpSize + lane, args.in_features);

#pragma unroll
  for (int i = 0; i < kRows * kTokens; ++i) {
    const float sum = warp_sum(sums[i / kTokens][i % kTokens]);
    if (lane == 0) partials[warp][i] = sum;
  }
  if constexpr (kTeamWarps > 1)
    __syncthreads();
  else
    __syncwarp();
  const int i = kTeamWarps > 1 ? int(threadIdx.x) : lane;
  if (i >= kRows * kTokens) return;
  float sum = partials[warp / kTeamWarps * kTeamWarps][i];
  for (int w = 1; w < kTeamWarps; ++w) sum += partials[w][i];
  store_sum(args, first_token + i % kTokens, first_row + i / kTokens, sum);
}

template <typename Out, int kTokens, int kWidth, int kTeamWarps>
void launch(const SkinnyArgs<Out>& args, const Stream& stream) {
  const int64_t teams = ceil_div(args.out_features, kRows);
  const dim3 grid(grid_size(ceil_div(teams, kWarps / kTeamWarps)),
                  grid_size(ceil_div(args.tokens, kTokens), kMaxGridY));
  skinny_linear_kernel<Out, kTokens, kWidth, kTeamWarps><<<grid, kWarps * kWarpSize, 0, stream.get()>>>(args);
  check_launch();
}

template <typename Out, int kTokens>
void launch_wide(const SkinnyArgs<Out>& args, const Stream& stream) {
  if (args.in_features >= kLongRow)
    launch<Out, kTokens, 8, kWarps>(args, stream);
  else
    launch<Out, kTokens, 8, 1>(args, stream);
}

template <typename Out>
void dispatch(const SkinnyArgs<Out>& args, bool wide, const Stream& stream) {
  if (!wide || args.tokens > kSkinnyTokens)
    launch<Out, int(kSkinnyTokens), 1, 1>(args, stream);
  else if (args.tokens == 1)
    launch_wide<Out, 1>(args, stream);
  else if (args.tokens == 2)
    launch_wide<Out, 2>(args, stream);
  else if (args.tokens == 3)
    launch_wide<Out, 3>(args, stream);
  else
    launch_wide<Out, 4>(args, stream);
}

}  // namespace

void skinny_linear(TensorView out, TensorView x, TensorView weight, TensorView bias, const Stream& stream) {
  const int64_t in_features = weight.dim(1), out_features = weight.dim(0);
  CHECK(in_features < INT32_MAX / 2 && out_features < INT32_MAX / 2) << "linear" << weight.shape_text();
  const bool wide = rows_are_wide(x, in_features) && rows_are_wide(weight, in_features);
  const auto run = [&]<typename Out>(Out* data) {
    dispatch(SkinnyArgs<Out>{data, bf16_data(x), bf16_data(weight), bias.empty() ? nullptr : bf16_data(bias),
                             out.stride(0), x.stride(0), int(out.dim(0)), int(out_features), int(in_features)},
             wide, stream);
  };
  if (out.dtype() == DType::f32)
    run(f32_data(out));
  else
    run(bf16_data(out));
}

}  // namespace trireme::cuda
