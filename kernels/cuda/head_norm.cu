// Norms of heads, of what is added to the residual stream, and over rows that are spread over ranks.

#include <algorithm>

#include "kernels/cuda/common/head_sum.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/reduce.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/norm.h"

namespace trireme::cuda {
namespace {

constexpr int kHeadThreads = 128;  // four warps, a head each
constexpr int kRowThreads = 256;

struct Heads {    // of x: [T, heads, head_dim]
  int64_t count;  // tokens * heads
  int heads, head_dim;
  int64_t token_stride;
  __device__ int64_t offset(int64_t head) const { return head / heads * token_stride + head % heads * head_dim; }
};

Heads heads_of(const TensorView& x) {
  CHECK(x.stride(1) == x.dim(2) || x.dim(1) == 1) << "heads of a token must be adjacent" << x.shape_text();
  return {x.dim(0) * x.dim(1), int(x.dim(1)), int(x.dim(2)), x.stride(0)};
}

unsigned head_grid(const Heads& heads) { return grid_size(ceil_div(heads.count, kHeadThreads / kWarpSize)); }

__device__ inline int64_t warp_head() {
  return int64_t(blockIdx.x) * (kHeadThreads / kWarpSize) + threadIdx.x / kWarpSize;
}

// x = x / sqrt(mean(x^2) + eps) * weight.   One warp per head.
__global__ void head_rms_norm_kernel(bf16* x, const float* weight, float eps, Heads heads) {
  const int64_t index = warp_head();
  if (index >= heads.count) return;
  bf16* head = x + heads.offset(index);
  const float scale = 1.0f / sqrtf(head_square_sum(head, heads.head_dim) / float(heads.head_dim) + eps);
  for (int d = int(threadIdx.x) % kWarpSize; d < heads.head_dim; d += kWarpSize)
    head[d] = __float2bfloat16_rn(__bfloat162float(head[d]) * scale * weight[d]);
}

// sums[t, h] = sum_d x[t, h, d]^2.   One warp per head.
__global__ void head_square_sums_kernel(float* sums, int64_t sums_stride, const bf16* x, Heads heads) {
  const int64_t index = warp_head();
  if (index >= heads.count) return;
  const float sum = head_square_sum(x + heads.offset(index), heads.head_dim);
  if (threadIdx.x % kWarpSize == 0) sums[index / heads.heads * sums_stride + index % heads.heads] = sum;
}

// x = x / sqrt(sum_h sums / length + eps) * weight.   One block per row; every thread adds the heads in the same order.
__global__ void norm_by_sums_kernel(bf16* x, int64_t x_stride, const float* sums, int64_t sums_stride, int num_heads,
                                    float length, const float* weight, float eps, int64_t cols) {
  const float* row_sums = sums + int64_t(blockIdx.x) * sums_stride;
  float sum = 0;
  for (int h = 0; h < num_heads; ++h) sum += row_sums[h];
  const float scale = 1.0f / sqrtf(sum / length + eps);
  bf16* row = x + int64_t(blockIdx.x) * x_stride;
  for (int64_t c = threadIdx.x; c < cols; c += kRowThreads)
    row[c] = __float2bfloat16_rn(__bfloat162float(row[c]) * scale * weight[c]);
}

struct AddNormArgs {
  bf16* hidden;
  const bf16 *sum, *bias;  // bias may be null
  const float* weight;
  float eps;
  int64_t cols, hidden_stride, sum_stride;
};

template <int kWidth>
__device__ inline void load_biased(const AddNormArgs& args, const bf16* from, int64_t c, float (&values)[kWidth]) {
  load(from + c, values);
  if (!args.bias) return;
  float added[kWidth];
  load(args.bias + c, added);
  for (int i = 0; i < kWidth; ++i) values[i] += added[i];
}

// hidden += (sum + bias) / sqrt(mean((sum + bias)^2) + eps) * weight.   One block per row.
template <int kWidth>
__global__ __launch_bounds__(kRowThreads) void add_norm_partial_kernel(AddNormArgs args) {
  __shared__ float partials[kWarpSize];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const bf16* from = args.sum + int64_t(blockIdx.x) * args.sum_stride;
  bf16* to = args.hidden + int64_t(blockIdx.x) * args.hidden_stride;
  float squares = 0, values[kWidth], weights[kWidth], old[kWidth];
  for (int64_t c = int64_t(threadIdx.x) * kWidth; c < args.cols; c += kRowThreads * kWidth) {
    load_biased(args, from, c, values);
    for (int i = 0; i < kWidth; ++i) squares += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, partials) / float(args.cols) + args.eps);
  for (int64_t c = int64_t(threadIdx.x) * kWidth; c < args.cols; c += kRowThreads * kWidth) {
    load_biased(args, from, c, values);
    load(args.weight + c, weights);
    load(to + c, old);
    for (int i = 0; i < kWidth; ++i) old[i] += values[i] * scale * weights[i];
    store(to + c, old);
  }
}

}  // namespace

void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream& stream) {
  if (x.empty()) return;
  const Heads heads = heads_of(x);
  head_rms_norm_kernel<<<head_grid(heads), kHeadThreads, 0, stream.get()>>>(bf16_data(x), f32_data(weight), eps, heads);
  check_launch();
}

void head_square_sums(TensorView sums, TensorView x, const Stream& stream) {
  if (x.empty()) return;
  const Heads heads = heads_of(x);
  head_square_sums_kernel<<<head_grid(heads), kHeadThreads, 0, stream.get()>>>(f32_data(sums), sums.stride(0),
                                                                               bf16_data(x), heads);
  check_launch();
}

void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps,
                      const Stream& stream) {
  if (x.empty()) return;
  norm_by_sums_kernel<<<grid_size(x.dim(0)), kRowThreads, 0, stream.get()>>>(
      bf16_data(x), x.stride(0), f32_data(sums), sums.stride(0), int(sums.dim(1)), float(length), f32_data(weight), eps,
      x.dim(1));
  check_launch();
}

void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                      const Stream& stream) {
  if (hidden.empty()) return;
  const int64_t cols = hidden.dim(1);
  const AddNormArgs args{
      bf16_data(hidden), bf16_data(sum), bias.empty() ? nullptr : bf16_data(bias), f32_data(weight), eps, cols,
      hidden.stride(0),  sum.stride(0)};
  const bool wide = rows_are_wide(hidden, cols) && rows_are_wide(sum, cols) && is_aligned(args.bias, 16) &&
                    is_aligned(args.weight, 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(add_norm_partial_kernel<width()>, dim3(grid_size(hidden.dim(0))), dim3(kRowThreads), 0, stream,
                     args);
  });
}

}  // namespace trireme::cuda
