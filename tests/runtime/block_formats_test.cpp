// Every GGUF block format against PyPI gguf's own values, bit for bit (scripts/goldens/make_quant_goldens.py).

#include "runtime/quant/block_formats.h"

#include <cmath>

#include "base/half.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

const std::string kGolden = std::string(TRIREME_SOURCE_DIR) + "/tests/runtime/golden/quants.json";

constexpr DType kFormats[] = {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0,
                              DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k};

TEST(BlockFormats, EqualGgufToTheLastBit) {
  const json::value golden = parse_json(slurp(kGolden), kGolden);
  EXPECT_EQ(golden.at("formats").as_object().size(), std::size(kFormats));
  for (const DType dtype : kFormats) {
    const std::string name(dtype_name(dtype));
    const auto blocks = golden.at("formats").at(name).at("blocks").as_int64();
    const std::vector<float> packed = golden_floats(kGolden, name + "/bytes");  // four bytes in each
    const std::vector<float> expected = golden_floats(kGolden, name + "/values");
    const int64_t elements = blocks * dtype_block_elements(dtype);
    ASSERT_EQ(int64_t(expected.size()), elements);
    ASSERT_GE(int64_t(packed.size() * 4), dtype_bytes(dtype, elements));
    std::vector<float> values(expected.size());
    dequantize_blocks(dtype, reinterpret_cast<const std::byte*>(packed.data()), elements, values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      uint32_t got, wanted;
      std::memcpy(&got, &values[i], 4);
      std::memcpy(&wanted, &expected[i], 4);
      ASSERT_EQ(got, wanted) << name << " element " << i << ": " << values[i] << " for " << expected[i];
    }
  }
}

TEST(SmallFloats, EqualTorchForEveryByte) {
  const std::vector<float> e4m3 = golden_floats(kGolden, "f8_e4m3"), e5m2 = golden_floats(kGolden, "f8_e5m2");
  const auto same = [](float a, float b) {
    return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
  };
  for (size_t byte = 0; byte < 256; ++byte) {
    EXPECT_TRUE(same(f8_e4m3_to_f32(uint8_t(byte)), e4m3[byte])) << byte;
    EXPECT_TRUE(same(f8_e5m2_to_f32(uint8_t(byte)), e5m2[byte])) << byte;
  }
}

TEST(BlockFormats, NoElementsAreNoWork) {
  for (const DType dtype : kFormats) dequantize_blocks(dtype, nullptr, 0, nullptr);
}

}  // namespace
}  // namespace trireme::test
