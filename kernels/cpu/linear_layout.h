#pragma once
// How a linear weight lies in CPU memory: panels of 16 rows (the last one padded with zeros), K-major inside a
// panel, so that the 16 lanes of a vector are 16 output features of one k.
//   plain types   element (r, k) at k * 16 + r
//   q8_0          per 32 k: 16 f16 scales, then int8 (r, k) at k * 16 + r                       544 bytes
//   q4_1          per 32 k: 16 f16 scales, 16 f16 minimums, then 4 groups of 16 32-bit words:   320 bytes
//                 word r of group g holds the 4-bit values of k = 8 g + j at bits 4 j

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/dtype.h"

namespace trireme::cpu {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kBlockK = 32;  // elements of K that share a scale
inline constexpr int64_t kQ8BlockBytes = 544, kQ8Values = 32;
inline constexpr int64_t kQ4BlockBytes = 320, kQ4Minimums = 32, kQ4Words = 64;
inline constexpr int kMaxGranule = 256;  // of K; bounds the tiles on the stack

inline int64_t panel_count(int64_t out_features) { return (out_features + kPanelRows - 1) / kPanelRows; }

inline int64_t panel_bytes(DType storage, int64_t in_features) {
  if (storage == DType::q8_0) return in_features / kBlockK * kQ8BlockBytes;
  if (storage == DType::q4_1) return in_features / kBlockK * kQ4BlockBytes;
  return in_features * kPanelRows * dtype_block_bytes(storage);
}

}  // namespace trireme::cpu
