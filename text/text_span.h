#pragma once
#include <cstddef>

namespace trireme {

// A stretch of a text: bytes [begin, end).
struct TextSpan {
  size_t begin = 0, end = 0;
  bool operator==(const TextSpan&) const = default;
};

}  // namespace trireme
