#include "runtime/quant/block_formats.h"

#include <cstring>

#include "base/check.h"
#include "runtime/quant/k_quants.h"
#include "runtime/quant/read_half.h"

namespace trireme {
namespace {

constexpr int kBlock = 32;

// 16 bytes of nibbles: the low ones are elements 0-15, the high ones 16-31.
int nibble(const std::byte* quants, int i) { return i < 16 ? int(quants[i]) & 15 : int(quants[i - 16]) >> 4; }

// Fifth bits, element i's at bit i.
int fifth_bit(const std::byte* high, int i) { return int(high[i / 8]) >> (i % 8) & 1; }

// f16 d, 16 bytes.
void dequantize_q4_0(const std::byte* block, float* out) {
  const float d = read_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = d * float(nibble(block + 2, i) - 8);
}

// f16 d, f16 m, 16 bytes.
void dequantize_q4_1(const std::byte* block, float* out) {
  const float d = read_f16(block), m = read_f16(block + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = d * float(nibble(block + 4, i)) + m;
}

// f16 d, 4 bytes of fifth bits, 16 bytes.
void dequantize_q5_0(const std::byte* block, float* out) {
  const float d = read_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = d * float((nibble(block + 6, i) | fifth_bit(block + 2, i) << 4) - 16);
}

// f16 d, f16 m, 4 bytes of fifth bits, 16 bytes.
void dequantize_q5_1(const std::byte* block, float* out) {
  const float d = read_f16(block), m = read_f16(block + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = d * float(nibble(block + 8, i) | fifth_bit(block + 4, i) << 4) + m;
}

// f16 d, 32 int8.
void dequantize_q8_0(const std::byte* block, float* out) {
  const float d = read_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = d * float(int8_t(block[2 + i]));
}

using BlockFunction = void (*)(const std::byte* block, float* out);

BlockFunction find_function(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return dequantize_q4_0;
    case DType::q4_1:
      return dequantize_q4_1;
    case DType::q5_0:
      return dequantize_q5_0;
    case DType::q5_1:
      return dequantize_q5_1;
    case DType::q8_0:
      return dequantize_q8_0;
    case DType::q2_k:
      return dequantize_q2_k;
    case DType::q3_k:
      return dequantize_q3_k;
    case DType::q4_k:
      return dequantize_q4_k;
    case DType::q5_k:
      return dequantize_q5_k;
    case DType::q6_k:
      return dequantize_q6_k;
    default:
      CHECK(false) << "no block format" << dtype_name(dtype);
      return nullptr;
  }
}

}  // namespace

void dequantize_blocks(DType dtype, const std::byte* blocks, int64_t elements, float* out) {
  const BlockFunction dequantize = find_function(dtype);
  const int64_t block_elements = dtype_block_elements(dtype), block_bytes = dtype_block_bytes(dtype);
  CHECK_EQ(elements % block_elements, 0) << dtype_name(dtype);
  for (int64_t i = 0; i < elements / block_elements; ++i)
    dequantize(blocks + i * block_bytes, out + i * block_elements);
}

}  // namespace trireme
