#include "runtime/quant/block_formats.h"

#include <cstring>

#include "base/check.h"
#include "base/half.h"

namespace trireme {
namespace {

float read_f16(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return f16_to_f32(bits);
}

void dequantize_q8_0(const std::byte* block, float* out) {
  const float d = read_f16(block);
  for (int i = 0; i < 32; ++i) out[i] = d * float(int8_t(block[2 + i]));
}

void dequantize_q4_1(const std::byte* block, float* out) {
  const float d = read_f16(block), m = read_f16(block + 2);
  for (int i = 0; i < 16; ++i) {
    const auto pair = uint8_t(block[4 + i]);
    out[i] = d * float(pair & 15) + m;
    out[i + 16] = d * float(pair >> 4) + m;
  }
}

}  // namespace

void dequantize_blocks(DType dtype, const std::byte* blocks, int64_t elements, float* out) {
  const auto convert = dtype == DType::q8_0 ? dequantize_q8_0 : dequantize_q4_1;
  CHECK(is_block_dtype(dtype) && elements % 32 == 0) << dtype_name(dtype) << elements;
  const int64_t block_bytes = dtype_block_bytes(dtype);
  for (int64_t i = 0; i < elements / 32; ++i) convert(blocks + i * block_bytes, out + i * 32);
}

}  // namespace trireme
