#include "kernels/norm.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
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

// out = (x - mean) / sqrt(var + eps) * weight + bias.   The variance is summed around the mean.
template <int kWidth>
__global__ __launch_bounds__(kMaxThreads) void layer_norm_kernel(bf16* out, const bf16* x, const float* weight,
                                                                 const float* bias, float eps, int cols,
                                                                 int64_t out_stride, int64_t x_stride) {
  __shared__ float partials[kWarpSize];
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
    rms_norm_kernel<width()><<<grid_size(x.dim(0)), threads_for(cols, width()), 0, stream.get()>>>(
        bf16_data(out), bf16_data(x), f32_data(weight), eps, int(cols), out.stride(0), x.stride(0));
  });
  check_launch();
}

void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = x.dim(1);
  const bool wide = rows_are_wide(out, cols) && rows_are_wide(x, cols) && is_aligned(weight.data(), 16) &&
                    is_aligned(bias.data(), 16);
  with_vector_width(wide, [&](auto width) {
    layer_norm_kernel<width()><<<grid_size(x.dim(0)), threads_for(cols, width()), 0, stream.get()>>>(
        bf16_data(out), bf16_data(x), f32_data(weight), f32_data(bias), eps, int(cols), out.stride(0), x.stride(0));
  });
  check_launch();
}

}  // namespace trireme::cuda
