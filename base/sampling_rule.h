#pragma once
// The arithmetic of sampling, the same bits on every back end, instruction set and number of shards: every
// product that feeds a sum is an explicit fma (or kept from being fused), logarithm and exponential are our own
// polynomials, sums are integers. Header only; host code and CUDA device code.
//
//   order      order_key() turns a float into a uint32 of the same order; equal keys are decided by the lower id.
//   mass       of an id: floor(exp(z - z_max) * 2^45) as uint64. 2^18 ids add up to at most 2^63.
//   noise      Gumbel, from Philox4x32-10 keyed by (seed, choice, position, token id). 32 random bits per id: the
//              smallest exponential variate is 2^-33, so the noise is at most 22.9.
//   score      double(z) + double(noise); the draw is the id with the highest score among the survivors of the cuts.

#include <cstdint>

#if defined(__CUDACC__)
#define TRIREME_HD __host__ __device__ __forceinline__
#else
#define TRIREME_HD __attribute__((always_inline)) inline  // so that it is compiled for its caller's instruction set
#endif

namespace trireme {

inline constexpr int kMassBits = 45;
inline constexpr int64_t kMaxSampledVocab = int64_t(1) << 18;
inline constexpr uint32_t kMinusInfinityKey = 0x007fffffu;  // order_key(-inf)

TRIREME_HD uint32_t float_bits(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  return __builtin_bit_cast(uint32_t, value);
#endif
}

TRIREME_HD float bits_float(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

TRIREME_HD float fused(float a, float b, float c) {  // a * b + c, rounded once
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

TRIREME_HD float product(float a, float b) {  // a * b, never fused into what follows
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

TRIREME_HD float quotient(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// condition ? a : b without a branch, so that loops over it vectorise.
TRIREME_HD float choose(bool condition, float a, float b) {
  const uint32_t mask = condition ? ~0u : 0u;
  return bits_float((float_bits(a) & mask) | (float_bits(b) & ~mask));
}

TRIREME_HD float infinity() { return bits_float(0x7f800000u); }

// a < b  <=>  order_key(a) < order_key(b), for everything but NaN; -0 equals +0. Never 0.
TRIREME_HD uint32_t order_key(float value) {
  const uint32_t bits = float_bits(value + 0.0f);
  return bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
}

TRIREME_HD float key_float(uint32_t key) { return bits_float(key & 0x80000000u ? key ^ 0x80000000u : ~key); }

// log(1 + r) for r in [sqrt(1/2) - 1, sqrt(2) - 1]; relative error of the polynomial 3.4e-8.
TRIREME_HD float log_near_one(float r) {
  float p = 0.0891569331f;
  p = fused(p, r, -0.143495366f);
  p = fused(p, r, 0.148774117f);
  p = fused(p, r, -0.165657341f);
  p = fused(p, r, 0.199653655f);
  p = fused(p, r, -0.250017434f);
  p = fused(p, r, 0.333338588f);
  p = fused(p, r, -0.5f);
  return fused(product(r, r), p, r);
}

inline constexpr float kLn2High = 0.693145752f;  // 17 bits; with kLn2Low 5.5e-14 from log(2)
inline constexpr float kLn2Low = 1.42860677e-6f;

// 2^exponent * mantissa, mantissa in [sqrt(1/2), sqrt(2)). x: positive and normal.
TRIREME_HD void split_float(float x, float& exponent, float& mantissa) {
  const uint32_t bits = float_bits(x);
  const int32_t e = int32_t(bits - 0x3f3504f3u) >> 23;
  exponent = float(e);
  mantissa = bits_float(bits - (uint32_t(e) << 23));
}

// Natural logarithm of a positive normal float.
TRIREME_HD float rule_log(float x) {
  float exponent, mantissa;
  split_float(x, exponent, mantissa);
  return fused(exponent, kLn2High, fused(exponent, kLn2Low, log_near_one(mantissa - 1.0f)));
}

// exp(x) is the mantissa returned, in about [sqrt(1/2), sqrt(2)], times 2^n. x in [-87, 0]. shifted: n + 1.5 * 2^23, whose
// lowest bits are n.
TRIREME_HD float split_exp(float x, float& shifted) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  shifted = fused(x, 1.44269502f, magic);
  const float n = shifted - magic;
  const float r = fused(n, -kLn2Low, fused(n, -kLn2High, x));
  float p = 0.00139395392f;
  p = fused(p, r, 0.00836882181f);
  p = fused(p, r, 0.0416664146f);
  p = fused(p, r, 0.166665196f);
  p = fused(p, r, 0.5f);
  return fused(product(r, r), p, r) + 1.0f;
}

// exp(x) for x <= 0; 0 for x < -87 and for NaN; exactly 1 at 0.
TRIREME_HD float rule_exp(float x) {
  float shifted;
  const float mantissa = split_exp(choose(x >= -87.0f, x, -87.0f), shifted);
  const float scale = bits_float((float_bits(shifted) - 0x4b400000u + 127u) << 23);
  return choose(x >= -87.0f, product(mantissa, scale), 0.0f);
}

// floor(e * 2^45) for e in [0, 1].
TRIREME_HD uint64_t fixed_mass(float e) {
  const uint32_t bits = float_bits(e);
  const int32_t exponent = int32_t(bits >> 23);
  const uint32_t mantissa = (bits & 0x007fffffu) | 0x00800000u;
  // As if e were in [1, 2), then down; 63 empties the word.
  const int32_t right = 127 - exponent;
  return uint64_t(mantissa) << (kMassBits - 23) >> (right < 63 ? right : 63);
}

TRIREME_HD uint64_t mass_below(float distance) { return fixed_mass(rule_exp(-distance)); }  // distance = z_max - z

TRIREME_HD uint64_t double_bits(double value) {
#ifdef __CUDA_ARCH__
  return uint64_t(__double_as_longlong(value));
#else
  return __builtin_bit_cast(uint64_t, value);
#endif
}

TRIREME_HD double bits_double(uint64_t bits) {
#ifdef __CUDA_ARCH__
  return __longlong_as_double((long long)(bits));
#else
  return __builtin_bit_cast(double, bits);
#endif
}

TRIREME_HD double fused_double(double a, double b, double c) {  // a * b + c, rounded once
#ifdef __CUDA_ARCH__
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

// log(mass * 2^-45) of a positive mass, the same bits everywhere; error below 1e-15 (relative or, near 0, absolute).
// With x = 2^e m, m in [sqrt(1/2), sqrt(2)), and s = (m - 1) / (m + 1):  log(m) = 2 (s + s^3 / 3 + s^5 / 5 + ...).
TRIREME_HD double mass_log(uint64_t mass) {
  const uint64_t bits = double_bits(double(mass));
  const int64_t e = int64_t(bits - 0x3fe6a09e667f3bcdu) >> 52;
  const double m = bits_double(bits - (uint64_t(e) << 52));
  const double s = (m - 1.0) / (m + 1.0), square = fused_double(s, s, 0.0), cube = fused_double(2.0 * s, square, 0.0);
  double p = 0.0;
  for (int odd = 23; odd >= 3; odd -= 2) p = fused_double(p, square, 1.0 / odd);
  return fused_double(double(e - kMassBits), 0.6931471805599453, fused_double(cube, p, 2.0 * s));
}

// The least integer >= share * total, at least 1: ids are kept while the mass before them is less than this.
TRIREME_HD uint64_t needed_mass(float share, uint64_t total) {
  const uint32_t bits = float_bits(share);
  const int shift = 150 - int(bits >> 23);
  if (!(share > 0.0f) || shift >= 100) return 1;
  if (share >= 1.0f) return total > 1 ? total : 1;
  const unsigned __int128 one = 1;
  const unsigned __int128 scaled = (unsigned __int128)(total) * ((bits & 0x007fffffu) | 0x00800000u);
  const uint64_t needed = uint64_t((scaled + ((one << shift) - 1)) >> shift);
  return needed > 1 ? needed : 1;
}

struct NoiseKey {
  uint64_t seed = 0;
  uint32_t choice = 0;
  uint32_t position = 0;  // of the token that is drawn
};

// Philox4x32 (Salmon et al., SC 2011): ten rounds on the counter (a, b, c, d), the key moving on after each.
inline constexpr int kPhiloxRounds = 10;
struct PhiloxKey {
  uint32_t low, high;
};
TRIREME_HD PhiloxKey philox_key(uint64_t seed, int round) {
  return {uint32_t(seed) + uint32_t(round) * 0x9E3779B9u, uint32_t(seed >> 32) + uint32_t(round) * 0xBB67AE85u};
}
TRIREME_HD void philox_round(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d, PhiloxKey key) {
  const uint64_t first = uint64_t(0xD2511F53u) * a, second = uint64_t(0xCD9E8D57u) * c;
  a = uint32_t(second >> 32) ^ b ^ key.low;
  c = uint32_t(first >> 32) ^ d ^ key.high;
  b = uint32_t(second);
  d = uint32_t(first);
}

// Token ids share Philox blocks in groups of 256: ids 256 g + l, + 64, + 128, + 192 (l < 64) are the four words
// of block 64 g + l, so that a run of 64 ids is one word of 64 consecutive blocks.
TRIREME_HD uint32_t noise_block(int32_t id) { return (uint32_t(id) >> 8) * 64 + (uint32_t(id) & 63); }

TRIREME_HD uint32_t noise_bits(const NoiseKey& key, int32_t id) {
  uint32_t a = noise_block(id), b = key.position, c = key.choice, d = 0;
  for (int round = 0; round < kPhiloxRounds; ++round) philox_round(a, b, c, d, philox_key(key.seed, round));
  const uint32_t word = (uint32_t(id) >> 6) & 3;
  return word == 0 ? a : word == 1 ? b : word == 2 ? c : d;
}

TRIREME_HD float uint32_float(uint32_t x) {  // rounded once
  return fused(float(int32_t(x >> 16)), 65536.0f, float(int32_t(x & 0xffffu)));
}

// -log(-log(u)) with 1 - u = (bits + 1/2) / 2^32. Both tails keep a float's full relative precision.
TRIREME_HD float gumbel(uint32_t bits) {
  const float scale = 2.32830644e-10f, half = 1.16415322e-10f;  // 2^-32, 2^-33
  const float tail = fused(uint32_float(bits), scale, half);    // 1 - u
  const float u = fused(uint32_float(~bits), scale, half);
  float exponent, mantissa;
  split_float(u, exponent, mantissa);
  const bool small = bits < 0x40000000u;  // log(1 - tail), tail < 1/4
  const float e = choose(small, 0.0f, exponent);
  const float r = choose(small, -tail, mantissa - 1.0f);
  const float log_u = fused(e, kLn2High, fused(e, kLn2Low, log_near_one(r)));
  return -rule_log(-log_u);
}

TRIREME_HD double draw_score(float z, const NoiseKey& key, int32_t id) {
  return double(z) + double(gumbel(noise_bits(key, id)));
}

}  // namespace trireme
