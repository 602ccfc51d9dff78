#pragma once
// What the middle files ask of their arguments. A wrong shape is our own mistake: InternalError, with the op's name.

#include <initializer_list>

#include "base/backend_traits.h"
#include "base/check.h"
#include "base/tensor.h"

namespace trireme {

inline void check_view(const char* op, const char* what, const TensorView& view, DType dtype, Device device,
                       std::initializer_list<int64_t> dims) {
  CHECK(view.dtype() == dtype) << op << what << "is" << view.shape_text() << "and should be" << dtype_name(dtype);
  CHECK(view.device() == device) << op << what << "is" << view.shape_text() << "and should be on" << to_string(device);
  CHECK_EQ(view.rank(), int(dims.size())) << op << what << view.shape_text();
  int i = 0;
  for (int64_t dim : dims) {
    CHECK_EQ(view.dim(i), dim) << op << what << view.shape_text() << "dimension" << i;
    ++i;
  }
}

// Rows may be strided, each row is contiguous: all dimensions but the first.
inline void check_rows(const char* op, const char* what, const TensorView& view, DType dtype, Device device,
                       std::initializer_list<int64_t> dims) {
  check_view(op, what, view, dtype, device, dims);
  CHECK(view.empty() || view.select(0).rank() == 0 || view.select(0).contiguous())
      << op << what << "has strided columns";
}

inline void check_contiguous(const char* op, const char* what, const TensorView& view, DType dtype, Device device,
                             std::initializer_list<int64_t> dims) {
  check_view(op, what, view, dtype, device, dims);
  CHECK(view.contiguous()) << op << what << "is not contiguous";
}

}  // namespace trireme
