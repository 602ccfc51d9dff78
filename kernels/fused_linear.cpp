#include "kernels/fused_linear.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream);
void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream);
void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream);
}  // namespace cpu
namespace cuda {
void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream);
void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream);
void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream);
}  // namespace cuda

namespace {

void check_input(const char* op, const TensorView& x, const InputNorm& norm, const LinearWeight& weight,
                 const TensorView& bias, const TensorView& normed) {
  CHECK_EQ(x.rank(), 2) << op << "x" << x.shape_text();
  const Device device = weight.device();
  const DType activation = activation_dtype(device);
  check_rows(op, "x", x, activation, device, {x.dim(0), weight.in_features});
  if (!bias.empty()) check_contiguous(op, "bias", bias, activation, device, {weight.out_features});
  if (norm.weight.empty()) return;
  check_contiguous(op, "norm", norm.weight, DType::f32, device, {weight.in_features});
  check_rows(op, "normed", normed, activation, device, {x.dim(0), weight.in_features});
}

}  // namespace

void linear_residual(TensorView hidden, TensorView x, const LinearWeight& weight, TensorView bias, TensorView sum,
                     const Stream& stream) {
  check_input("linear_residual", x, {}, weight, bias, {});
  const Device device = weight.device();
  check_rows("linear_residual", "hidden", hidden, activation_dtype(device), device, {x.dim(0), weight.out_features});
  check_rows("linear_residual", "sum", sum, partial_dtype(device), device, {x.dim(0), weight.out_features});
  if (hidden.empty()) return;
  BACKEND(device, linear_residual(hidden, x, weight, bias, sum, stream));
}

void norm_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                 TensorView normed, const Stream& stream) {
  check_input("norm_linear", x, norm, weight, bias, normed);
  const Device device = weight.device();
  CHECK(out.dtype() == activation_dtype(device) || out.dtype() == DType::f32) << "norm_linear: out" << out.shape_text();
  check_rows("norm_linear", "out", out, out.dtype(), device, {x.dim(0), weight.out_features});
  if (out.empty()) return;
  BACKEND(device, norm_linear(out, x, norm, weight, bias, normed, stream));
}

void norm_gated_linear(TensorView out, TensorView x, const InputNorm& norm, const LinearWeight& weight, TensorView bias,
                       Activation activation, const GatedScratch& scratch, const Stream& stream) {
  check_input("norm_gated_linear", x, norm, weight, bias, scratch.normed);
  const Device device = weight.device();
  CHECK_EQ(weight.out_features % 2, 0) << "norm_gated_linear: gates and ups";
  const DType dtype = activation_dtype(device);
  check_rows("norm_gated_linear", "out", out, dtype, device, {x.dim(0), weight.out_features / 2});
  check_rows("norm_gated_linear", "gate_up", scratch.gate_up, dtype, device, {x.dim(0), weight.out_features});
  if (out.empty()) return;
  BACKEND(device, norm_gated_linear(out, x, norm, weight, bias, activation, scratch, stream));
}

}  // namespace trireme
