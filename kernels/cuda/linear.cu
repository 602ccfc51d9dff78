#include "kernels/linear.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/skinny_linear.h"
#include "kernels/random_fill.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;

// One block per row n of the shard; element (n, k) from its global coordinates alone.
__global__ void fill_random_kernel(bf16* weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                                   int64_t in_features) {
  const uint64_t key = random_fill_row(seed, int64_t(blockIdx.x) + row_offset);
  bf16* row = weight + int64_t(blockIdx.x) * in_features;
  for (int64_t k = threadIdx.x; k < in_features; k += blockDim.x)
    row[k] = __float2bfloat16_rn(random_fill_value(key, k + column_offset, scale));
}

// out[t, n] = (keep ? out[t, n] : 0) + bias[n];  bias may be null.
template <typename Out>
__global__ void add_bias_kernel(Out* out, const bf16* bias, int64_t out_stride, int64_t out_features, bool keep) {
  const int64_t n = int64_t(blockIdx.y) * blockDim.x + threadIdx.x;
  if (n >= out_features) return;
  Out* element = out + int64_t(blockIdx.x) * out_stride + n;
  const float kept = keep ? float(*element) : 0.0f;
  store_one(element, kept + (bias ? __bfloat162float(bias[n]) : 0.0f));
}

void add_bias(TensorView out, TensorView bias, bool keep, const Stream& stream) {
  const dim3 grid(grid_size(out.dim(0)), grid_size(ceil_div(out.dim(1), kThreads), kMaxGridY));
  const bf16* data = bias.empty() ? nullptr : bf16_data(bias);
  if (out.dtype() == DType::f32)
    add_bias_kernel<<<grid, kThreads, 0, stream.get()>>>(f32_data(out), data, out.stride(0), out.dim(1), keep);
  else
    add_bias_kernel<<<grid, kThreads, 0, stream.get()>>>(bf16_data(out), data, out.stride(0), out.dim(1), keep);
  check_launch();
}

bool use_skinny(TensorView x, const TensorView& weight) {
  return x.dim(0) <= kSkinnyTokens && rows_are_wide(x, weight.dim(1)) && rows_are_wide(weight, weight.dim(1));
}

Gemm gemm_problem(TensorView out, TensorView x, TensorView weight) {
  Gemm g;
  g.out = out.data(), g.x = bf16_data(x), g.weight = bf16_data(weight);
  g.out_is_float = out.dtype() == DType::f32;
  g.tokens = x.dim(0), g.out_features = weight.dim(0), g.in_features = weight.dim(1);
  // The stride of a single row is anything; cuBLASLt wants at least the row.
  g.out_stride = g.tokens > 1 ? out.stride(0) : g.out_features;
  g.x_stride = g.tokens > 1 ? x.stride(0) : g.in_features;
  return g;
}

}  // namespace

LinearWeight make_linear_weight(Device device, DType, int64_t out_features, int64_t in_features, int granule) {
  LinearWeight weight;
  weight.out_features = out_features;
  weight.in_features = in_features;
  weight.granule = granule;
  weight.storage = DType::bf16;
  weight.data = Tensor(DType::bf16, {out_features, in_features}, device);
  return weight;
}

void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset,
                        const Stream& stream) {
  if (weight.data.view().empty()) return;
  fill_random_kernel<<<grid_size(weight.out_features), kThreads, 0, stream.get()>>>(
      bf16_data(weight.data), seed, scale, row_offset, column_offset, weight.in_features);
  check_launch();
}

void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream& stream) {
  if (out.empty()) return;
  if (weight.in_features == 0) return add_bias(out, bias, /*keep=*/false, stream);
  const TensorView data = weight.data;
  if (use_skinny(x, data)) return skinny_linear(out, x, data, bias, stream);
  Gemm problem = gemm_problem(out, x, data);
  const bool fused_bias = !bias.empty() && !problem.out_is_float && is_aligned(bias.data(), 16);
  if (fused_bias) problem.bias = bf16_data(bias);
  if (!gemm(problem, stream)) return skinny_linear(out, x, data, bias, stream);
  if (!bias.empty() && !fused_bias) add_bias(out, bias, /*keep=*/true, stream);
}

}  // namespace trireme::cuda
