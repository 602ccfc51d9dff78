#pragma once

#include <cstddef>
#include <cstring>

#include "base/half.h"

namespace trireme {

inline float read_f16(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return f16_to_f32(bits);
}

}  // namespace trireme
