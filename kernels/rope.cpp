#include "kernels/rope.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
}  // namespace cpu
namespace cuda {
void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
}  // namespace cuda

namespace {

void check_rope(const char* op, const TensorView& x, const TensorView& positions, const TensorView& inv_freq) {
  CHECK_EQ(x.rank(), 3) << op << x.shape_text();
  CHECK_EQ(inv_freq.rank(), 1) << op << "inv_freq" << inv_freq.shape_text();
  const Device device = x.device();
  check_rows(op, "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1), x.dim(2)});
  check_contiguous(op, "positions", positions, DType::i32, device, {x.dim(0)});
  check_contiguous(op, "inv_freq", inv_freq, DType::f32, device, {inv_freq.dim(0)});
  CHECK_LE(2 * inv_freq.dim(0), x.dim(2)) << op << "rotary dimensions against head_dim";
}

}  // namespace

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  check_rope("rope", x, positions, inv_freq);
  if (x.empty() || inv_freq.empty()) return;
  BACKEND(x.device(), rope(x, positions, inv_freq, scale, stream));
}

void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  check_rope("rope_interleaved", x, positions, inv_freq);
  if (x.empty() || inv_freq.empty()) return;
  BACKEND(x.device(), rope_interleaved(x, positions, inv_freq, scale, stream));
}

}  // namespace trireme
