#pragma once
// GGUF's tensor types: sizes of all that are known, and the DType of those that are read.

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace trireme {

struct GgufType {
  uint32_t id;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
  std::optional<DType> dtype;  // empty: the layout is known, the values are not read
};

const GgufType* find_gguf_type(uint32_t id);  // null for an unknown id

}  // namespace trireme
