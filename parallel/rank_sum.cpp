#include "parallel/rank_sum.h"

#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "base/half.h"

namespace trireme {
namespace {

struct Bf16 { uint16_t bits; };

template <typename T> float widened(T value) requires std::is_same_v<T, Bf16> { return bf16_to_f32(value.bits); }
template <typename T> T widened(T value) requires std::is_arithmetic_v<T> { return value; }

template <typename T, typename Sum>
void narrow(T& out, Sum sum) {
  if constexpr (std::is_same_v<T, Bf16>) out.bits = f32_to_bf16(sum);
  else out = sum;
}

template <typename T, typename Sum = T>
void sum_as(void* out, std::span<const void* const> terms, int64_t elements) {
  constexpr int64_t kBlock = 512;   // stays in the first-level cache; read before `out` is written, which may be a term
  Sum sums[kBlock];
  for (int64_t begin = 0; begin < elements; begin += kBlock) {
    const int64_t count = std::min(kBlock, elements - begin);
    const T* first = static_cast<const T*>(terms[0]) + begin;
    for (int64_t i = 0; i < count; ++i) sums[i] = widened(first[i]);
    for (const void* term : terms.subspan(1)) {
      const T* values = static_cast<const T*>(term) + begin;
      for (int64_t i = 0; i < count; ++i) sums[i] += widened(values[i]);
    }
    T* result = static_cast<T*>(out) + begin;
    for (int64_t i = 0; i < count; ++i) narrow(result[i], sums[i]);
  }
}

}  // namespace

void sum_in_rank_order(DType dtype, void* out, std::span<const void* const> terms, int64_t elements) {
  CHECK(!terms.empty());
  switch (dtype) {
    case DType::f64: return sum_as<double>(out, terms, elements);
    case DType::f32: return sum_as<float>(out, terms, elements);
    case DType::bf16: return sum_as<Bf16, float>(out, terms, elements);
    case DType::i32: return sum_as<uint32_t>(out, terms, elements);
    case DType::i64: return sum_as<uint64_t>(out, terms, elements);
    default: CHECK(false) << "no sum over ranks for" << dtype_name(dtype);
  }
}

}  // namespace trireme
