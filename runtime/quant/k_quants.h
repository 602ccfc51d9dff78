#pragma once
// GGUF's K-quants: 256 elements share one f16 scale d (and a minimum m), runs of 16 or 32 of them a small integer
// scale s (and minimum t).
//   q2_k, q4_k, q5_k   (d * s) * q - m * t          q3_k, q6_k   (d * s) * q          each product rounded

#include <cstddef>

namespace trireme {

inline constexpr int kSuperBlock = 256;

// One block to kSuperBlock floats.
void dequantize_q2_k(const std::byte* block, float* out);
void dequantize_q3_k(const std::byte* block, float* out);
void dequantize_q4_k(const std::byte* block, float* out);
void dequantize_q5_k(const std::byte* block, float* out);
void dequantize_q6_k(const std::byte* block, float* out);

}  // namespace trireme
