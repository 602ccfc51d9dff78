#include "kernels/fused_linear.h"

#include "kernels/norm.h"

namespace trireme::cpu {
namespace {

TensorView normalized(TensorView x, const InputNorm& norm, TensorView normed, const Stream& stream) {
  if (norm.weight.empty()) return x;
  trireme::rms_norm(normed, x, norm.weight, norm.eps, stream);
  return normed;
}

}  // namespace

void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream) {
  trireme::linear(sum, x, weight, TensorView(), stream);
  trireme::add_partial(hidden, sum, bias, stream);
}

void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream) {
  trireme::linear(out, normalized(x, norm, normed, stream), weight, bias, stream);
}

void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream) {
  trireme::linear(scratch.gate_up, normalized(x, norm, scratch.normed, stream), weight, bias, stream);
  gated_mul(out, scratch.gate_up, activation, stream);
}

}  // namespace trireme::cpu
