#pragma once
// What every back end asks of the views it is given.

#include "base/tensor.h"

namespace trireme {

inline void check_view(const TensorView& view, Device device, const char* operation) {
  CHECK(view.device() == device) << operation << "on" << to_string(device) << "got" << view.shape_text();
  CHECK(view.contiguous() && !is_block_dtype(view.dtype())) << operation << "of" << view.shape_text();
}

// `whole` is [size, ...part], rank-major.
inline void check_parts(const TensorView& whole, const TensorView& part, int size, Device device,
                        const char* operation) {
  check_view(whole, device, operation);
  check_view(part, device, operation);
  CHECK(whole.dtype() == part.dtype() && whole.elements() == part.elements() * size)
      << operation << "among" << size << "ranks:" << whole.shape_text() << "and" << part.shape_text();
}

inline void check_peer(int peer, int rank, int size, const char* operation) {
  CHECK(peer >= 0 && peer < size && peer != rank) << operation << "rank" << rank << "of" << size << "with" << peer;
}

}  // namespace trireme
