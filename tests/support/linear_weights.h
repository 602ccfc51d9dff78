#pragma once
// Weights of tests: random rows in every storage, with the float32 values they stand for, decoded here on its own
// from the formats' definitions.

#include <bit>
#include <vector>

#include "kernels/linear.h"
#include "tests/support/tensors.h"

namespace trireme::test {

struct EncodedRows {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> bytes;  // row-major, as in a checkpoint
  Values values;                 // [rows, cols]
};

// 2^-8 and around it, as float16 bits.
inline uint16_t small_f16(std::mt19937& generator) { return uint16_t(7u << 10 | (generator() & 0x3ffu)); }

inline void encode_block(EncodedRows& out, std::mt19937& generator) {
  const auto put = [&](auto element) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&element);
    out.bytes.insert(out.bytes.end(), bytes, bytes + sizeof element);
  };
  const uint16_t scale = small_f16(generator), minimum = uint16_t(small_f16(generator) | 0x8000u);
  put(scale);
  if (out.dtype == DType::q8_0) {
    for (int i = 0; i < 32; ++i) {
      const auto q = int8_t(generator() & 0xffu);
      put(q);
      out.values.push_back(f16_to_f32(scale) * float(q));
    }
    return;
  }
  put(minimum);
  uint8_t packed[16];
  for (uint8_t& byte : packed) put(byte = uint8_t(generator() & 0xffu));
  for (int i = 0; i < 32; ++i) {
    const int q = i < 16 ? packed[i] & 15 : packed[i - 16] >> 4;
    const float product = f16_to_f32(scale) * float(q);
    out.values.push_back(product + f16_to_f32(minimum));
  }
}

inline EncodedRows random_rows(DType dtype, int64_t rows, int64_t cols, uint32_t seed) {
  EncodedRows out{dtype, rows, cols, {}, {}};
  std::mt19937 generator(seed);
  if (is_block_dtype(dtype)) {
    for (int64_t b = 0; b < rows * cols / 32; ++b) encode_block(out, generator);
  } else if (dtype == DType::f16) {
    out.bytes.resize(size_t(rows * cols) * 2);
    for (int64_t i = 0; i < rows * cols; ++i) {
      const auto bits = uint16_t((generator() & 0x8000u) | (8u + generator() % 7u) << 10 | (generator() & 0x3ffu));
      std::memcpy(out.bytes.data() + 2 * i, &bits, 2);
      out.values.push_back(f16_to_f32(bits));
    }
  } else {
    out.values = rounded(random_values(rows * cols, seed), dtype);
    out.bytes = encode(out.values, dtype);
  }
  return out;
}

inline LinearWeight load_weight(const EncodedRows& rows, int granule, const Stream& stream) {
  LinearWeight weight = make_linear_weight(stream.device(), rows.dtype, rows.rows, rows.cols, granule);
  load_linear_rows(weight, 0, rows.rows, rows.bytes.data(), rows.dtype, stream);
  stream.synchronize();
  return weight;
}

// out[t, n] = sum_k x[t, k] w[n, k] + bias[n] in float64.
inline std::vector<double> reference_linear(const Values& x, const Values& w, const Values& bias, int64_t tokens,
                                            int64_t out, int64_t in) {
  std::vector<double> result;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t n = 0; n < out; ++n) {
      double sum = bias.empty() ? 0 : double(bias[size_t(n)]);
      for (int64_t k = 0; k < in; ++k) sum += double(x[size_t(t * in + k)]) * double(w[size_t(n * in + k)]);
      result.push_back(sum);
    }
  }
  return result;
}

}  // namespace trireme::test
