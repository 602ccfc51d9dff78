#pragma once
// Conversions that base/half.h does not have, needed at load only.

#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.h"

namespace trireme::cpu {

// Round to nearest even; overflow to infinity, subnormals kept.
inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
  const float size = std::fabs(value);
  if (std::isnan(value)) return uint16_t(sign | 0x7e00u);
  if (size >= 65520.0f) return uint16_t(sign | 0x7c00u);
  if (size < 0x1p-14f) return uint16_t(sign | uint32_t(std::nearbyintf(size * 0x1p24f)));  // multiples of 2^-24
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return uint16_t(sign | ((rounded - (112u << 23)) >> 13));
}

using trireme::f8_e4m3_to_f32;

}  // namespace trireme::cpu
