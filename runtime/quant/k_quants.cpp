#include "runtime/quant/k_quants.h"

#include <array>
#include <cstdint>

#include "runtime/quant/read_half.h"

namespace trireme {
namespace {

// 64 bytes of 2-bit values: each half of the block has 32 bytes, whose bits 0-1, 2-3, 4-5, 6-7 are four runs of 32.
int two_bits(const std::byte* quants, int i) { return int(quants[i / 128 * 32 + i % 32]) >> (i % 128 / 32 * 2) & 3; }

// 32 bytes, bit b of byte i is element 32 b + i.
int bit_plane(const std::byte* planes, int i) { return int(planes[i % 32]) >> (i / 32) & 1; }

// 128 bytes of nibbles: the low ones of 32 bytes are one run of 32 elements, the high ones the next.
int nibble(const std::byte* quants, int i) { return int(quants[i / 64 * 32 + i % 32]) >> (i % 64 / 32 * 4) & 15; }

struct ScaledRun {
  float scale, minimum;  // d * s, m * t
};

// 12 bytes hold eight 6-bit scales and minimums of q4_k and q5_k: scales 0-3 in the low six bits of bytes 0-3,
// minimums 0-3 in those of 4-7; 4-7 have their low nibbles in bytes 8-11 and their top two bits above those of 0-3.
std::array<ScaledRun, 8> read_runs(const std::byte* block) {
  const float d = read_f16(block), m = read_f16(block + 2);
  const std::byte* packed = block + 4;
  std::array<ScaledRun, 8> runs;
  for (int r = 0; r < 4; ++r) {
    const int low = int(packed[r]), middle = int(packed[4 + r]), high = int(packed[8 + r]);
    runs[size_t(r)] = {d * float(low & 63), m * float(middle & 63)};
    runs[size_t(r) + 4] = {d * float((high & 15) | (low >> 6) << 4), m * float(high >> 4 | (middle >> 6) << 4)};
  }
  return runs;
}

}  // namespace

// 16 bytes of scale and minimum nibbles, 64 bytes of 2-bit values, f16 d, f16 m.
void dequantize_q2_k(const std::byte* block, float* out) {
  const float d = read_f16(block + 80), m = read_f16(block + 82);
  for (int run = 0; run < 16; ++run) {
    const float scale = d * float(int(block[run]) & 15), minimum = m * float(int(block[run]) >> 4);
    for (int i = 16 * run; i < 16 * run + 16; ++i) out[i] = scale * float(two_bits(block + 16, i)) - minimum;
  }
}

// 32 bytes of third bits, 64 bytes of 2-bit values, 12 bytes of sixteen 6-bit scales, f16 d. A third bit of 0 takes
// 4 away. Scales 0-7 have their low nibbles in the low halves of bytes 0-7, scales 8-15 in the high halves; the top
// two bits of scale r are bits 2 (r / 4) of byte 8 + r % 4.
void dequantize_q3_k(const std::byte* block, float* out) {
  const std::byte *values = block + 32, *packed = block + 96;
  const float d = read_f16(block + 108);
  for (int run = 0; run < 16; ++run) {
    const int low = run < 8 ? int(packed[run]) & 15 : int(packed[run - 8]) >> 4;
    const int high = int(packed[8 + run % 4]) >> (run / 4 * 2) & 3;
    const float scale = d * float((low | high << 4) - 32);
    for (int i = 16 * run; i < 16 * run + 16; ++i)
      out[i] = scale * float(two_bits(values, i) - (bit_plane(block, i) ? 0 : 4));
  }
}

// f16 d, f16 m, 12 bytes of scales, 128 bytes of nibbles.
void dequantize_q4_k(const std::byte* block, float* out) {
  const auto runs = read_runs(block);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaledRun& run = runs[size_t(i / 32)];
    out[i] = run.scale * float(nibble(block + 16, i)) - run.minimum;
  }
}

// f16 d, f16 m, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes of nibbles.
void dequantize_q5_k(const std::byte* block, float* out) {
  const auto runs = read_runs(block);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaledRun& run = runs[size_t(i / 32)];
    out[i] = run.scale * float(nibble(block + 48, i) | bit_plane(block + 16, i) << 4) - run.minimum;
  }
}

// 128 bytes of nibbles (of 64 bytes the low ones are a run of 64 elements, the high ones the next), 64 bytes of their
// bits 4-5, 16 int8 scales, f16 d.
void dequantize_q6_k(const std::byte* block, float* out) {
  const float d = read_f16(block + 208);
  for (int run = 0; run < 16; ++run) {
    const float scale = d * float(int8_t(block[192 + run]));
    for (int i = 16 * run; i < 16 * run + 16; ++i) {
      const int low = int(block[i / 128 * 64 + i % 64]) >> (i % 128 / 64 * 4) & 15;
      out[i] = scale * float((low | two_bits(block + 128, i) << 4) - 32);
    }
  }
}

}  // namespace trireme
