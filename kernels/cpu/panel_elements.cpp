#include "kernels/cpu/panel_elements.h"

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/cpu/linear_layout.h"
#include "kernels/cpu/small_floats.h"

namespace trireme::cpu {
namespace {

template <typename T>
T read_as(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void read_q8_row(float* row, const std::byte* panel, int64_t lane, int64_t cols) {
  for (int64_t k = 0; k < cols; ++k) {
    const std::byte* block = panel + k / kBlockK * kQ8BlockBytes;
    const float scale = f16_to_f32(read_as<uint16_t>(block + 2 * lane));
    row[k] = scale * float(read_as<int8_t>(block + kQ8Values + k % kBlockK * kPanelRows + lane));
  }
}

void read_q4_row(float* row, const std::byte* panel, int64_t lane, int64_t cols) {
  for (int64_t k = 0; k < cols; ++k) {
    const std::byte* block = panel + k / kBlockK * kQ4BlockBytes;
    const float scale = f16_to_f32(read_as<uint16_t>(block + 2 * lane));
    const float minimum = f16_to_f32(read_as<uint16_t>(block + kQ4Minimums + 2 * lane));
    const int64_t group = k % kBlockK / 8;
    const uint32_t word = read_as<uint32_t>(block + kQ4Words + (group * kPanelRows + lane) * 4);
    row[k] = scale * float(word >> (4 * (k % 8)) & 15u) + minimum;
  }
}

}  // namespace

void read_panel_row(float* row, const LinearWeight& weight, int64_t n) {
  const auto* panel = static_cast<const std::byte*>(weight.data.data()) +
                      n / kPanelRows * panel_bytes(weight.storage, weight.in_features);
  const int64_t lane = n % kPanelRows, cols = weight.in_features;
  switch (weight.storage) {
    case DType::f32:
      for (int64_t k = 0; k < cols; ++k) row[k] = read_as<float>(panel + (k * kPanelRows + lane) * 4);
      return;
    case DType::bf16:
      for (int64_t k = 0; k < cols; ++k) row[k] = bf16_to_f32(read_as<uint16_t>(panel + (k * kPanelRows + lane) * 2));
      return;
    case DType::f16:
      for (int64_t k = 0; k < cols; ++k) row[k] = f16_to_f32(read_as<uint16_t>(panel + (k * kPanelRows + lane) * 2));
      return;
    case DType::q8_0:
      return read_q8_row(row, panel, lane, cols);
    case DType::q4_1:
      return read_q4_row(row, panel, lane, cols);
    default:
      CHECK(false) << "storage" << dtype_name(weight.storage);
  }
}

void write_panel_row(LinearWeight& weight, int64_t n, const float* row) {
  auto* panel =
      static_cast<std::byte*>(weight.data.data()) + n / kPanelRows * panel_bytes(weight.storage, weight.in_features);
  const int64_t lane = n % kPanelRows;
  for (int64_t k = 0; k < weight.in_features; ++k) {
    const int64_t at = k * kPanelRows + lane;
    if (weight.storage == DType::f32) {
      reinterpret_cast<float*>(panel)[at] = row[k];
    } else {
      reinterpret_cast<uint16_t*>(panel)[at] = weight.storage == DType::bf16 ? f32_to_bf16(row[k]) : f32_to_f16(row[k]);
    }
  }
}

}  // namespace trireme::cpu
