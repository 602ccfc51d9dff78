#include "kernels/rope.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
}
namespace cuda {
void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream);
}

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  CHECK_EQ(x.rank(), 3) << "rope: x" << x.shape_text();
  CHECK_EQ(inv_freq.rank(), 1) << "rope: inv_freq" << inv_freq.shape_text();
  const Device device = x.device();
  check_rows("rope", "x", x, activation_dtype(device), device, {x.dim(0), x.dim(1), x.dim(2)});
  check_contiguous("rope", "positions", positions, DType::i32, device, {x.dim(0)});
  check_contiguous("rope", "inv_freq", inv_freq, DType::f32, device, {inv_freq.dim(0)});
  CHECK_LE(2 * inv_freq.dim(0), x.dim(2)) << "rope: rotary dimensions against head_dim";
  if (x.empty() || inv_freq.empty()) return;
  BACKEND(device, rope(x, positions, inv_freq, scale, stream));
}

}  // namespace trireme
