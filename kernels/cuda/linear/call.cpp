#include "kernels/cuda/linear/call.h"

#include "base/check.h"

namespace trireme::cuda {
namespace {

bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Rows that can be copied 16 bytes at a time.
bool wide_rows(const TensorView& view) {
  return view.dim(1) % 8 == 0 && is_aligned(view.data()) && (view.dim(0) <= 1 || view.stride(0) % 8 == 0);
}

const LinearChoice* choice_of(const TensorView& out, const TensorView& weight) {
  return find_linear_choice(weight.dim(0), weight.dim(1), out.dtype() == DType::f32, out.dim(0));
}

}  // namespace

SkinnyLinear skinny_problem(const LinearCall& call) {
  SkinnyLinear p;
  p.out = call.out.data(), p.x = call.x.data(), p.weight = call.weight.data();
  p.bias = call.bias.empty() ? nullptr : call.bias.data();
  p.norm = call.norm.empty() ? nullptr : static_cast<const float*>(call.norm.data());
  p.eps = call.eps, p.epilogue = call.epilogue, p.gelu = call.gelu;
  p.out_is_float = call.out.dtype() == DType::f32;
  p.tokens = call.out.dim(0), p.features = call.out.dim(1), p.in_features = call.weight.dim(1);
  p.out_stride = call.out.stride(0), p.x_stride = call.x.stride(0);
  return p;
}

bool try_own(const LinearCall& call, const Stream& stream) {
  const LinearChoice* choice = choice_of(call.out, call.weight);
  if (choice && choice->kernel == LinearKernel::hopper) {
    const SkinnyLinear problem = skinny_problem(call);
    if (!hopper_fits(problem, {choice->tile, choice->grid}, stream.device())) return false;
    hopper_linear(problem, {choice->tile, choice->grid}, stream);
    return true;
  }
  if (choice && choice->kernel == LinearKernel::wide) {
    const SkinnyLinear problem = skinny_problem(call);
    const WideChoice how = WideChoice::unpacked(choice->tile, choice->grid);
    if (!wide_fits(problem, how, stream.device())) return false;
    wide_linear(problem, how, stream);
    return true;
  }
  const int64_t tokens = call.x.dim(0);
  if (tokens > kMaxSkinnyTokens || call.weight.dim(1) == 0) return false;
  if (!wide_rows(call.x) || !wide_rows(call.weight)) return false;
  if (!call.norm.empty() && !is_aligned(call.norm.data())) return false;
  if (choice ? choice->kernel != LinearKernel::skinny : tokens > kSkinnyByDefault) return false;
  SkinnyChoice how;
  if (choice) how.tile = int8_t(choice->tile), how.grid = SkinnyChoice::Grid(choice->grid);
  skinny_mma(skinny_problem(call), how, stream);
  return true;
}

bool wants_normed(const LinearCall& call, const Stream& stream) {
  const LinearChoice* choice = choice_of(call.out, call.weight);
  if (call.norm.empty() || !choice) return false;
  SkinnyLinear problem = skinny_problem(call);
  problem.norm = nullptr;
  if (choice->kernel == LinearKernel::wide)
    return wide_fits(problem, WideChoice::unpacked(choice->tile, choice->grid), stream.device());
  if (choice->kernel != LinearKernel::hopper) return false;
  return hopper_fits(problem, {choice->tile, choice->grid}, stream.device());
}

Gemm gemm_problem(TensorView out, TensorView x, TensorView weight) {
  CHECK(x.dtype() == DType::bf16 && weight.dtype() == DType::bf16) << "gemm" << x.shape_text() << weight.shape_text();
  Gemm g;
  g.out = out.data(), g.x = x.data(), g.weight = weight.data();
  g.out_is_float = out.dtype() == DType::f32;
  g.tokens = x.dim(0), g.out_features = weight.dim(0), g.in_features = weight.dim(1);
  // The stride of a single row is anything; cuBLASLt wants at least the row.
  g.out_stride = g.tokens > 1 ? out.stride(0) : g.out_features;
  g.x_stride = g.tokens > 1 ? x.stride(0) : g.in_features;
  return g;
}

const GemmAlgorithm* gemm_algorithm(const Gemm& g) {
  const LinearChoice* choice = find_linear_choice(g.out_features, g.in_features, g.out_is_float, g.tokens);
  return choice && choice->has_algorithm ? &choice->algorithm : nullptr;
}

}  // namespace trireme::cuda
