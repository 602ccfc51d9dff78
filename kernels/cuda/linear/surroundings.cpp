#include "kernels/cuda/linear/surroundings.h"

#include <vector>

#include "base/check.h"

namespace trireme::cuda {

void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);

namespace {

constexpr float kEps = 1e-5f;

TensorView rows(const Tensor& tensor, int64_t tokens) { return tensor.view().slice(0, 0, tokens); }

}  // namespace

LinearSurroundings::LinearSurroundings(const LinearWeight& shape, DType out, const LinearRole& role,
                                       int64_t most_tokens, const Stream& stream)
    : role_(role),
      stream_(stream),
      out_(out, {most_tokens, shape.out_features}, stream.device()),
      x_(trireme::make_linear_weight(stream.device(), DType::bf16, most_tokens, shape.in_features)),
      normed_(DType::bf16, {most_tokens, shape.in_features}, stream.device()),
      norm_(DType::f32, {shape.in_features}, stream.device()) {
  trireme::fill_linear_random(x_, 1, 1.0f, 0, 0, stream);
  const std::vector<float> ones(size_t(shape.in_features), 1.0f);
  copy_async(norm_.data(), ones.data(), ones.size() * sizeof(float), stream.device(), stream);
  stream.synchronize();
  if (role.gated) inner_ = Tensor(DType::bf16, {most_tokens, shape.out_features / 2}, stream.device());
}

void LinearSurroundings::run(const LinearChoice& choice, int64_t tokens, TensorView weight) {
  const bool skinny = choice.kernel == LinearKernel::skinny;
  if (has_predecessor(tokens) && !(skinny && role_.normed))
    rms_norm(rows(normed_, tokens), rows(x_.data, tokens), norm_, kEps, stream_);
  if (choice.kernel == LinearKernel::library) return run_library(choice.algorithm, tokens, weight);
  const SkinnyLinear problem = own_problem(skinny, tokens, weight);
  if (choice.kernel == LinearKernel::wide)
    wide_linear(problem, WideChoice::unpacked(choice.tile, choice.grid), stream_);
  else if (skinny)
    skinny_mma(problem, {int8_t(choice.tile), SkinnyChoice::Grid(choice.grid)}, stream_);
  else
    hopper_linear(problem, {choice.tile, choice.grid}, stream_);
}

void LinearSurroundings::run_library(const GemmAlgorithm& algorithm, int64_t tokens, TensorView weight) {
  Gemm problem = library_problem(tokens, weight);
  problem.add_to_out = role_.added;
  CHECK(gemm(problem, &algorithm, stream_)) << "tune_linear: gemm";
  if (role_.gated) silu_mul(rows(inner_, tokens), rows(out_, tokens), stream_);
}

Gemm LinearSurroundings::library_problem(int64_t tokens, TensorView weight) const {
  return gemm_problem(rows(out_, tokens), input(tokens), weight);
}

SkinnyLinear LinearSurroundings::own_problem(bool with_norm, int64_t tokens, TensorView weight) const {
  LinearCall call{rows(role_.gated ? inner_ : out_, tokens), input(tokens), weight, {}};
  if (with_norm && role_.normed) call.x = rows(x_.data, tokens), call.norm = norm_, call.eps = kEps;
  if (role_.gated || role_.added) call.epilogue = role_.gated ? SkinnyEpilogue::gated : SkinnyEpilogue::add;
  return skinny_problem(call);
}

TensorView LinearSurroundings::input(int64_t tokens) const {
  return rows(has_predecessor(tokens) ? normed_ : x_.data, tokens);
}

}  // namespace trireme::cuda
