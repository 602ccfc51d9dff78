#pragma once
// The counter-based values of fill_linear_random: the same bits on every back end (integer mixing, one exact
// conversion, two roundings), so that a matrix does not depend on the device or on how it is sharded.

#include <cstdint>

#if defined(__CUDACC__)
#define TRIREME_HOST_DEVICE __host__ __device__
#else
#define TRIREME_HOST_DEVICE
#endif

namespace trireme {

// The finalizer of SplitMix64: a bijection of 64-bit words.
TRIREME_HOST_DEVICE inline uint64_t mix_bits(uint64_t word) {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
  return word ^ (word >> 31);
}

// Element (n, k) of the global matrix `seed`, uniform in [-scale, scale). A row's key is the costly half:
// random_fill_row once per row, random_fill_value per element.
TRIREME_HOST_DEVICE inline uint64_t random_fill_row(uint64_t seed, int64_t n) {
  return mix_bits(mix_bits(seed + 0x9e3779b97f4a7c15ull) + uint64_t(n) * 0x9e3779b97f4a7c15ull);
}

TRIREME_HOST_DEVICE inline float random_fill_value(uint64_t row_key, int64_t k, float scale) {
  const uint64_t word = mix_bits(row_key + uint64_t(k) * 0x9e3779b97f4a7c15ull);
  const int32_t centered = int32_t(word >> 40) - (1 << 23);  // 24 bits: exact as float32
  return float(centered) * (1.0f / float(1 << 23)) * scale;
}

}  // namespace trireme
