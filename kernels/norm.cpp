#include "kernels/norm.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);
void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream& stream);
void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                      const Stream& stream);
void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream);
void head_square_sums(TensorView sums, TensorView x, const Stream& stream);
void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps,
                      const Stream& stream);
}  // namespace cpu
namespace cuda {
void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void layer_norm(TensorView out, TensorView x, TensorView weight, TensorView bias, float eps, const Stream& stream);
void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream& stream);
void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                      const Stream& stream);
void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream);
void head_square_sums(TensorView sums, TensorView x, const Stream& stream);
void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps,
                      const Stream& stream);
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

void check_added(const char* op, const TensorView& hidden, const TensorView& sum, const TensorView& bias,
                 const TensorView& weight) {
  CHECK_EQ(hidden.rank(), 2) << op << hidden.shape_text();
  const Device device = hidden.device();
  check_rows(op, "hidden", hidden, activation_dtype(device), device, {hidden.dim(0), hidden.dim(1)});
  check_rows(op, "sum", sum, partial_dtype(device), device, {hidden.dim(0), hidden.dim(1)});
  if (!bias.empty()) check_contiguous(op, "bias", bias, activation_dtype(device), device, {hidden.dim(1)});
  check_contiguous(op, "weight", weight, DType::f32, device, {hidden.dim(1)});
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

void head_rms_norm(TensorView x, TensorView weight, float eps, const Stream& stream) {
  CHECK_EQ(x.rank(), 3) << "head_rms_norm" << x.shape_text();
  const Device device = x.device();
  check_rows("head_rms_norm", "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1), x.dim(2)});
  check_contiguous("head_rms_norm", "weight", weight, DType::f32, device, {x.dim(2)});
  if (x.empty()) return;
  BACKEND(device, head_rms_norm(x, weight, eps, stream));
}

void add_norm_partial(TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                      const Stream& stream) {
  check_added("add_norm_partial", hidden, sum, bias, weight);
  if (hidden.empty()) return;
  BACKEND(hidden.device(), add_norm_partial(hidden, sum, bias, weight, eps, stream));
}

void add_rms_norm(TensorView normed, TensorView hidden, TensorView sum, TensorView bias, TensorView weight, float eps,
                  const Stream& stream) {
  check_added("add_rms_norm", hidden, sum, bias, weight);
  check_rows("add_rms_norm", "normed", normed, hidden.dtype(), hidden.device(), {hidden.dim(0), hidden.dim(1)});
  if (hidden.empty()) return;
  BACKEND(hidden.device(), add_rms_norm(normed, hidden, sum, bias, weight, eps, stream));
}

void head_square_sums(TensorView sums, TensorView x, const Stream& stream) {
  CHECK_EQ(x.rank(), 3) << "head_square_sums" << x.shape_text();
  const Device device = x.device();
  check_rows("head_square_sums", "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1), x.dim(2)});
  check_rows("head_square_sums", "sums", sums, square_sum_dtype(device), device, {x.dim(0), x.dim(1)});
  if (sums.empty()) return;
  BACKEND(device, head_square_sums(sums, x, stream));
}

void rms_norm_by_sums(TensorView x, TensorView sums, int64_t length, TensorView weight, float eps,
                      const Stream& stream) {
  CHECK_EQ(x.rank(), 2) << "rms_norm_by_sums" << x.shape_text();
  CHECK_EQ(sums.rank(), 2) << "rms_norm_by_sums: sums" << sums.shape_text();
  const Device device = x.device();
  check_rows("rms_norm_by_sums", "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1)});
  check_rows("rms_norm_by_sums", "sums", sums, square_sum_dtype(device), device, {x.dim(0), sums.dim(1)});
  check_contiguous("rms_norm_by_sums", "weight", weight, DType::f32, device, {x.dim(1)});
  CHECK_GE(length, x.dim(1)) << "rms_norm_by_sums: length of a row";
  if (x.empty()) return;
  BACKEND(device, rms_norm_by_sums(x, sums, length, weight, eps, stream));
}

}  // namespace trireme
