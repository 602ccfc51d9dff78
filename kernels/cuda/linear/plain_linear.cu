#include "kernels/cuda/linear/plain_linear.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kWarps = 4;   // of a block
constexpr int kRows = 2;    // output features of a warp
constexpr int kTokens = 4;  // of a warp

template <typename Out>
struct PlainArgs {
  Out* out;
  const bf16 *x, *weight, *bias;  // bias may be null
  int64_t out_stride, x_stride;
  int tokens, out_features, in_features;
};

// A warp makes kRows features of kTokens tokens; what lies beyond the edges is computed twice and not stored.
template <typename Out>
__global__ __launch_bounds__(kWarps* kWarpSize) void plain_linear_kernel(PlainArgs<Out> args) {
  const int lane = int(threadIdx.x) % kWarpSize;
  const int first_row = (int(blockIdx.x) * kWarps + int(threadIdx.x) / kWarpSize) * kRows;
  const int first_token = int(blockIdx.y) * kTokens;
  if (first_row >= args.out_features) return;
  const bf16 *rows[kRows], *x[kTokens];
  for (int r = 0; r < kRows; ++r)
    rows[r] = args.weight + int64_t(min(first_row + r, args.out_features - 1)) * args.in_features;
  for (int t = 0; t < kTokens; ++t) x[t] = args.x + min(first_token + t, args.tokens - 1) * args.x_stride;

  float sums[kRows][kTokens] = {};
  for (int k = lane; k < args.in_features; k += kWarpSize) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float w = __bfloat162float(rows[r][k]);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) sums[r][t] = fmaf(w, __bfloat162float(x[t][k]), sums[r][t]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float sum = warp_sum(sums[r][t]);
      const int token = first_token + t, row = first_row + r;
      if (lane > 0 || token >= args.tokens || row >= args.out_features) continue;
      if (args.bias) sum += __bfloat162float(args.bias[row]);
      store_one(args.out + token * args.out_stride + row, sum);
    }
  }
}

template <typename Out>
void launch(const PlainArgs<Out>& args, const Stream& stream) {
  const dim3 grid(grid_size(ceil_div(ceil_div(args.out_features, kRows), kWarps)),
                  grid_size(ceil_div(args.tokens, kTokens), kMaxGridY));
  plain_linear_kernel<Out><<<grid, kWarps * kWarpSize, 0, stream.get()>>>(args);
  check_launch();
}

}  // namespace

void plain_linear(TensorView out, TensorView x, TensorView weight, TensorView bias, const Stream& stream) {
  const int64_t in_features = weight.dim(1), out_features = weight.dim(0);
  CHECK(in_features < INT32_MAX / 2 && out_features < INT32_MAX / 2) << "linear" << weight.shape_text();
  const auto run = [&]<typename Out>(Out* data) {
    launch(PlainArgs<Out>{data, bf16_data(x), bf16_data(weight), bias.empty() ? nullptr : bf16_data(bias),
                          out.stride(0), x.stride(0), int(out.dim(0)), int(out_features), int(in_features)},
           stream);
  };
  if (out.dtype() == DType::f32)
    run(f32_data(out));
  else
    run(bf16_data(out));
}

}  // namespace trireme::cuda
