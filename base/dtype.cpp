#include "base/dtype.h"

#include <array>

#include "base/check.h"

namespace trireme {
namespace {

struct DTypeRow {
  std::string_view name;
  int64_t block_elements, block_bytes;
};

constexpr std::array<DTypeRow, 25> kRows = {{
    {"f32", 1, 4},     {"f16", 1, 2},     {"bf16", 1, 2},    {"f64", 1, 8},      {"f8_e4m3", 1, 1},
    {"f8_e5m2", 1, 1}, {"i64", 1, 8},     {"i32", 1, 4},     {"i16", 1, 2},      {"i8", 1, 1},
    {"u64", 1, 8},     {"u32", 1, 4},     {"u16", 1, 2},     {"u8", 1, 1},       {"bool", 1, 1},
    {"q8_0", 32, 34},  {"q4_1", 32, 20},  {"q4_0", 32, 18},  {"q5_0", 32, 22},   {"q5_1", 32, 24},
    {"q2_k", 256, 84}, {"q3_k", 256, 110}, {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210},
}};

const DTypeRow& row(DType dtype) { return kRows.at(size_t(dtype)); }

}  // namespace

std::string_view dtype_name(DType dtype) { return row(dtype).name; }
int64_t dtype_block_elements(DType dtype) { return row(dtype).block_elements; }
int64_t dtype_block_bytes(DType dtype) { return row(dtype).block_bytes; }

int64_t dtype_bytes(DType dtype, int64_t elements) {
  CHECK_EQ(elements % row(dtype).block_elements, 0) << dtype_name(dtype);
  return elements / row(dtype).block_elements * row(dtype).block_bytes;
}

}  // namespace trireme
