#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kMaxThreads = 1024;

// out = x / sqrt(mean(x^2) + eps) * weight.   One block per row; out may be x: every thread rereads only what it
// writes itself.
template <int kWidth>
__global__ __launch_bounds__(kMaxThreads) void rms_norm_kernel(bf16* out, const bf16* x, const float* weight, float eps,
                                                               int cols, int64_t out_stride, int64_t x_stride) {
  __shared__ float partials[kWarpSize];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const bf16* from = x + int64_t(blockIdx.x) * x_stride;
  bf16* to = out + int64_t(blockIdx.x) * out_stride;
  const int first = int(threadIdx.x) * kWidth, step = int(blockDim.x) * kWidth;
  float sum = 0, values[kWidth], weights[kWidth];
  for (int c = first; c < cols; c += step) {
    load(from + c, values);
    for (int i = 0; i < kWidth; ++i) sum += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(block_sum(sum, partials) / float(cols) + eps);
  for (int c = first; c < cols; c += step) {
    load(from + c, values);
    load(weight + c, weights);
    for (int i = 0; i < kWidth; ++i) values[i] *= scale * weights[i];
    store(to + c, values);
  }
}

struct AddRmsNormArgs {
  bf16 *normed, *hidden;
  const bf16 *sum, *bias;  // bias may be null
  const float* weight;
  float eps;
  int cols;
  int64_t normed_stride, hidden_stride, sum_stride;
};

// hidden += sum + bias; normed = hidden / sqrt(mean(hidden^2) + eps) * weight, of hidden as it was rounded. One block
// per row; every thread rereads only what it wrote itself.
template <int kWidth>
__global__ __launch_bounds__(kMaxThreads) void add_rms_norm_kernel(AddRmsNormArgs args) {
  __shared__ float partials[kWarpSize];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const bf16* sum = args.sum + int64_t(blockIdx.x) * args.sum_stride;
  bf16* hidden = args.hidden + int64_t(blockIdx.x) * args.hidden_stride;
  const int first = int(threadIdx.x) * kWidth, step = int(blockDim.x) * kWidth;
  float squares = 0, values[kWidth], added[kWidth];
  for (int c = first; c < args.cols; c += step) {
    load(hidden + c, values);
    load(sum + c, added);
    for (int i = 0; i < kWidth; ++i) values[i] += added[i];
    if (args.bias) {
      load(args.bias + c, added);
      for (int i = 0; i < kWidth; ++i) values[i] += added[i];
    }
    for (int i = 0; i < kWidth; ++i) values[i] = __bfloat162float(__float2bfloat16_rn(values[i]));
    store(hidden + c, values);
    for (int i = 0; i < kWidth; ++i) squares += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, partials) / float(args.cols) + args.eps);
  bf16* normed = args.normed + int64_t(blockIdx.x) * args.normed_stride;
  for (int c = first; c < args.cols; c += step) {
    load(hidden + c, values);
    load(args.weight + c, added);
    for (int i = 0; i < kWidth; ++i) values[i] *= scale * added[i];
    store(normed + c, values);
  }
}

// out = (x - mean) / sqrt(var + eps) * weight + bias.   The variance is summed around the mean.
template <int kWidth>
__global__ __launch_bounds__(kMaxThreads) void layer_norm_kernel(bf16* out, const bf16* x, const float* weight,
                                                                 const float* bias, float eps, int cols,
                                                                 int64_t out_stride, int64_t x_stride) {
  __shared__ float partials[kWarpSize];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const bf16* from = x + int64_t(blockIdx.x) * x_stride;
  bf16* to = out + int64_t(blockIdx.x) * out_stride;
  const int first = int(threadIdx.x) * kWidth, step = int(blockDim.x) * kWidth;
  float sum = 0, squares = 0, values[kWidth], weights[kWidth], biases[kWidth];
  for (int c = first; c < cols; c += step) {
    load(from + c, values);
    for (int i = 0; i < kWidth; ++i) sum += values[i];
  }
  const float mean = block_sum(sum, partials) / float(cols);
  for (int c = first; c < cols; c += step) {
    load(from + c, values);
    for (int i = 0; i < kWidth; ++i) squares += (values[i] - mean) * (values[i] - mean);
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, partials) / float(cols) + eps);
  for (int c = first; c < cols; c += step) {
    load(from + c, values);
    load(weight + c, weights);
    load(bias + c, biases);
    for (int i = 0; i < kWidth; ++i) values[i] = (values[i] - mean) * scale * weights[i] + biases[i];
    store(to + c, values);
  }
}

// Whole warps, one vector per thread where that is possible. Depends on cols (and the alignment) only.
unsigned threads_for(int64_t cols, int width) {
  return unsigned(std::min<int64_t>(kMaxThreads, ceil_div(ceil_div(cols, width), kWarpSize) * kWarpSize));
}

}  // namespace

void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = x.dim(1);
  const bool wide = rows_are_wide(out, cols) && rows_are_wide(x, cols) && is_aligned(weight.data(), 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(rms_norm_kernel<width()>, dim3(grid_size(x.dim(0))), dim3(threads_for(cols, width())), 0, stream,
                     bf16_data(out), bf16_data(x), f32_data(weight), eps, int(cols), out.stride(0), x.stride(0));
  });
}

void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream) {
  if (hidden.empty()) return;
  const int64_t cols = hidden.dim(1);
  const AddRmsNormArgs args{bf16_data(normed),
                            bf16_data(hidden),
                            bf16_data(sum),
                            bias.empty() ? nullptr : bf16_data(bias),
                            f32_data(weight),
                            eps,
                            int(cols),
                            normed.stride(0),
                            hidden.stride(0),
                            sum.stride(0)};
  const bool wide = rows_are_wide(normed, cols) && rows_are_wide(hidden, cols) && rows_are_wide(sum, cols) &&
                    is_aligned(args.bias, 16) && is_aligned(args.weight, 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(add_rms_norm_kernel<width()>, dim3(grid_size(hidden.dim(0))), dim3(threads_for(cols, width())), 0,
                     stream, args);
  });
}

void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = x.dim(1);
  const bool wide = rows_are_wide(out, cols) && rows_are_wide(x, cols) && is_aligned(weight.data(), 16) &&
                    is_aligned(bias.data(), 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(layer_norm_kernel<width()>, dim3(grid_size(x.dim(0))), dim3(threads_for(cols, width())), 0, stream,
                     bf16_data(out), bf16_data(x), f32_data(weight), f32_data(bias), eps, int(cols), out.stride(0),
                     x.stride(0));
  });
}

}  // namespace trireme::cuda
