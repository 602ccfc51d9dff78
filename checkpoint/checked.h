#pragma once
// Arithmetic on numbers that a file claims, and text from a file made fit for an error message.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// Empty on overflow or for negative operands.
inline std::optional<int64_t> checked_add(int64_t a, int64_t b) {
  int64_t sum;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<int64_t> checked_multiply(int64_t a, int64_t b) {
  int64_t product;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// The product of all dimensions; 1 for none. Empty where the product of those that are not zero is beyond 2^58: a
// tensor without elements may still have rows or columns whose bytes are counted.
inline std::optional<int64_t> checked_elements(const std::vector<int64_t>& shape) {
  std::optional<int64_t> total = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim == 0) empty = true;
    if (total && dim != 0) total = checked_multiply(*total, dim);
  }
  if (!total || *total > int64_t(1) << 58) return std::nullopt;
  return empty ? 0 : *total;
}

// In quotes, control bytes as \xNN, at most 120 bytes of it.
std::string quoted(std::string_view text);

std::string shape_text(const std::vector<int64_t>& shape);  // "[49152, 576]"

}  // namespace trireme
