#include "kernels/norm.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);
}  // namespace cpu
namespace cuda {
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);
}  // namespace cuda

namespace {

void check_norm(const char* op, const TensorView& out, const TensorView& x, const TensorView& weight) {
  CHECK_EQ(x.rank(), 2) << op << x.shape_text();
  const Device device = x.device();
  check_rows(op, "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1)});
  check_rows(op, "out", out, activation_dtype(device), device, {x.dim(0), x.dim(1)});
  check_contiguous(op, "weight", weight, DType::f32, device, {x.dim(1)});
  CHECK_GT(x.dim(1), 0) << op << "columns";
}

}  // namespace

void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream) {
  check_norm("rms_norm", out, x, weight);
  if (x.dim(0) == 0) return;
  BACKEND(x.device(), rms_norm(out, x, weight, eps, stream));
}

void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream) {
  check_norm("layer_norm", out, x, weight);
  check_contiguous("layer_norm", "bias", bias, DType::f32, x.device(), {x.dim(1)});
  if (x.dim(0) == 0) return;
  BACKEND(x.device(), layer_norm(out, x, weight, bias, eps, stream));
}

}  // namespace trireme
