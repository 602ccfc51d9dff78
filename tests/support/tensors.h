#pragma once
// Tensors of tests: random values, up to a device and back, and comparisons that say where they fail.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::test {

using Values = std::vector<float>;

inline Values random_values(int64_t count, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  Values values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(generator);
  return values;
}

// The values as `dtype` can hold them, so that a reference computes on what the device sees.
inline Values rounded(Values values, DType dtype) {
  if (dtype == DType::bf16)
    for (float& value : values) value = bf16_to_f32(f32_to_bf16(value));
  return values;
}

inline std::vector<std::byte> encode(const Values& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * size_t(dtype_block_bytes(dtype)));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto put = [&](auto element) { std::memcpy(bytes.data() + i * sizeof element, &element, sizeof element); };
    if (dtype == DType::f32)
      put(values[i]);
    else if (dtype == DType::f64)
      put(double(values[i]));
    else if (dtype == DType::bf16)
      put(f32_to_bf16(values[i]));
    else
      CHECK(false) << "encode" << dtype_name(dtype);
  }
  return bytes;
}

inline void upload(TensorView view, const void* host, const Stream& stream) {
  CHECK(view.contiguous()) << "upload to" << view.shape_text();
  copy_async(view.data(), host, size_t(view.bytes()), view.device(), stream);
  stream.synchronize();
}

inline Tensor to_device(const Values& values, std::initializer_list<int64_t> dims, DType dtype, const Stream& stream) {
  Tensor tensor(dtype, dims, stream.device());
  CHECK_EQ(tensor.view().elements(), int64_t(values.size()));
  upload(tensor, encode(values, dtype).data(), stream);
  return tensor;
}

inline Tensor to_device(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims, const Stream& stream) {
  Tensor tensor(DType::i32, dims, stream.device());
  CHECK_EQ(tensor.view().elements(), int64_t(values.size()));
  upload(tensor, values.data(), stream);
  return tensor;
}

inline Tensor to_device(const std::vector<int32_t>& values, const Stream& stream) {
  return to_device(values, {int64_t(values.size())}, stream);
}

// A tensor of `dims` whose rows lie `gap` elements further apart than they are long; filled with `filler` in between.
// Keeps the memory in `owner`.
inline TensorView strided(Tensor& owner, int64_t rows, int64_t cols, int64_t gap, DType dtype, const Stream& stream,
                          float filler = 0) {
  owner = to_device(Values(size_t(rows * (cols + gap)), filler), {rows, cols + gap}, dtype, stream);
  return owner.view().slice(1, 0, cols);
}

inline void upload_rows(TensorView view, const Values& values, const Stream& stream) {
  const auto bytes = encode(values, view.dtype());
  const int64_t element = dtype_block_bytes(view.dtype()), cols = view.elements() / std::max<int64_t>(view.dim(0), 1);
  for (int64_t r = 0; r < view.dim(0); ++r)
    copy_async(static_cast<char*>(view.data()) + r * view.stride(0) * element, bytes.data() + r * cols * element,
               size_t(cols * element), view.device(), stream);
  stream.synchronize();
}

template <typename T>
std::vector<T> raw_to_host(TensorView view, const Stream& stream) {
  const int64_t rows = view.rank() > 0 ? view.dim(0) : 0, cols = rows > 0 ? view.elements() / rows : 0;
  std::vector<T> values(static_cast<size_t>(view.elements()));
  for (int64_t r = 0; r < rows; ++r)
    copy_async(values.data() + r * cols, view.as<T>() + r * view.stride(0), size_t(cols) * sizeof(T), view.device(),
               stream);
  stream.synchronize();
  return values;
}

inline std::vector<double> to_host(TensorView view, const Stream& stream) {
  std::vector<double> values;
  if (view.dtype() == DType::f32)
    for (float value : raw_to_host<float>(view, stream)) values.push_back(value);
  else if (view.dtype() == DType::f64)
    values = raw_to_host<double>(view, stream);
  else if (view.dtype() == DType::bf16)
    for (uint16_t bits : raw_to_host<uint16_t>(view, stream)) values.push_back(bf16_to_f32(bits));
  else if (view.dtype() == DType::i32)
    for (int32_t value : raw_to_host<int32_t>(view, stream)) values.push_back(value);
  else if (view.dtype() == DType::u16)
    for (uint16_t value : raw_to_host<uint16_t>(view, stream)) values.push_back(value);
  else
    CHECK(false) << "to_host" << view.shape_text();
  return values;
}

// |got - expected| <= tolerance * (1 + |expected|), for every element; NaN only where NaN is expected.
template <typename Expected>
void expect_close(const std::vector<double>& got, const std::vector<Expected>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  size_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double want = double(expected[i]), difference = std::abs(got[i] - want);
    const bool both_nan = std::isnan(got[i]) && std::isnan(want);
    if (both_nan || got[i] == want || difference <= tolerance * (1 + std::abs(want))) continue;
    if (++wrong <= 5)
      ADD_FAILURE() << "element " << i << " of " << got.size() << ": got " << got[i] << ", expected " << want;
  }
  EXPECT_EQ(wrong, 0u) << "elements beyond tolerance " << tolerance;
}

// The same bits. `what` names the variation.
inline void expect_identical(const std::vector<double>& got, const std::vector<double>& expected,
                             const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(std::memcmp(&got[i], &expected[i], sizeof(double)) == 0)
        << what << ": element " << i << ": got " << std::hexfloat << got[i] << ", expected " << expected[i];
}

}  // namespace trireme::test
