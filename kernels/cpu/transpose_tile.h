#pragma once
// Turns small square tiles of 16- or 32-bit elements in vector registers: what a load into panels spends its time on.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace trireme::cpu {

using U16x8 = uint16_t __attribute__((vector_size(16)));
using U32x4 = uint32_t __attribute__((vector_size(16)));

inline U16x8 interleave_low(U16x8 a, U16x8 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
inline U16x8 interleave_high(U16x8 a, U16x8 b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
inline U32x4 interleave_low(U32x4 a, U32x4 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline U32x4 interleave_high(U32x4 a, U32x4 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }

// A square of one vector per row. Dealing the halves of all elements together, as cards are shuffled, rotates the
// bits of an element's place by one; log2(rows) times exchanges row and column.
template <typename Vector>
inline void transpose_tile(std::byte* out, int64_t out_stride, const std::byte* in, int64_t in_stride) {
  constexpr int kRows = int(sizeof(Vector) / sizeof(Vector{}[0]));
  Vector rows[kRows], dealt[kRows];
  for (int r = 0; r < kRows; ++r) std::memcpy(&rows[r], in + r * in_stride, sizeof(Vector));
  for (int places = 1; places < kRows; places *= 2) {
    for (int r = 0; r < kRows / 2; ++r) {
      dealt[2 * r] = interleave_low(rows[r], rows[r + kRows / 2]);
      dealt[2 * r + 1] = interleave_high(rows[r], rows[r + kRows / 2]);
    }
    for (int r = 0; r < kRows; ++r) rows[r] = dealt[r];
  }
  for (int r = 0; r < kRows; ++r) std::memcpy(out + r * out_stride, &rows[r], sizeof(Vector));
}

}  // namespace trireme::cpu
