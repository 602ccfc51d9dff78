#include "kernels/linear.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/cuda/linear/call.h"
#include "kernels/cuda/linear/plain_linear.h"
#include "kernels/fused_linear.h"
#include "kernels/random_fill.h"

namespace trireme::cuda {

void add_partial(TensorView hidden, TensorView sum, TensorView bias, const Stream& stream);
void gelu_mul(TensorView out, TensorView gate_up, const Stream& stream);
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);

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
  if (try_own({out, x, data, bias}, stream)) return;
  Gemm problem = gemm_problem(out, x, data);
  const bool fused_bias = !bias.empty() && !problem.out_is_float && is_aligned(bias.data(), 16);
  if (fused_bias) problem.bias = bf16_data(bias);
  if (!gemm(problem, gemm_algorithm(problem), stream)) return plain_linear(out, x, data, bias, stream);
  if (!bias.empty() && !fused_bias) add_bias(out, bias, /*keep=*/true, stream);
}

void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream) {
  const TensorView data = weight.data;
  const bool aligned_bias = bias.empty() || is_aligned(bias.data(), 16);
  if (weight.in_features > 0 && aligned_bias) {
    if (try_own({.out = hidden, .x = x, .weight = data, .bias = bias, .epilogue = SkinnyEpilogue::add}, stream))
      return;
    Gemm problem = gemm_problem(hidden, x, data);
    problem.add_to_out = true;
    if (!bias.empty()) problem.bias = bf16_data(bias);
    if (gemm(problem, gemm_algorithm(problem), stream)) return;
  }
  cuda::linear(sum, x, weight, TensorView(), stream);
  cuda::add_partial(hidden, sum, bias, stream);
}

void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream) {
  if (norm.weight.empty()) return cuda::linear(out, x, weight, bias, stream);
  if (try_own({out, x, weight.data, bias, norm.weight, norm.eps}, stream)) return;
  cuda::rms_norm(normed, x, norm.weight, norm.eps, stream);
  cuda::linear(out, normed, weight, bias, stream);
}

void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream) {
  const bool gelu = activation == Activation::gelu_tanh;
  const LinearCall call{out, x, weight.data, bias, norm.weight, norm.eps, SkinnyEpilogue::gated, gelu};
  if (try_own(call, stream)) return;
  if (wants_normed(call, stream)) {
    cuda::rms_norm(scratch.normed, x, norm.weight, norm.eps, stream);
    return cuda::norm_gated_linear(out, scratch.normed, {}, weight, bias, activation, scratch, stream);
  }
  cuda::norm_linear(scratch.gate_up, x, norm, weight, bias, scratch.normed, stream);
  if (gelu)
    cuda::gelu_mul(out, scratch.gate_up, stream);
  else
    cuda::silu_mul(out, scratch.gate_up, stream);
}

}  // namespace trireme::cuda
