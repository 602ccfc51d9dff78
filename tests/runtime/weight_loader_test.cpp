// What a weight holds after loading, element by element, for every stored type, cut as tensor parallelism cuts.

#include "runtime/weight_loader.h"

#include <random>

#include "base/half.h"
#include "kernels/cpu/panel_elements.h"
#include "runtime/quant/block_formats.h"
#include "tests/checkpoint/test_files.h"
#include "tests/support/backend.h"

namespace trireme::test {
namespace {

// Tensors in memory, with slices as a file's source cuts them.
class MemorySource final : public TensorSource {
 public:
  const TensorInfo& add(const std::string& name, DType dtype, std::vector<int64_t> shape, std::vector<std::byte> bytes,
                        bool transposed = false) {
    tensors_.push_back({name, dtype, std::move(shape), transposed, "memory", int64_t(bytes.size())});
    bytes_.push_back(std::move(bytes));
    return tensors_.back();
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  void read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
            std::byte* destination) const override {
    const size_t index = size_t(&tensor - tensors_.data());
    const int64_t row_bytes = dtype_bytes(tensor.dtype, tensor.columns());
    const int64_t skipped = dtype_bytes(tensor.dtype, column_begin);
    const int64_t width = dtype_bytes(tensor.dtype, column_end - column_begin);
    for (int64_t r = row_begin; r < row_end; ++r, destination += width)
      std::memcpy(destination, bytes_[index].data() + r * row_bytes + skipped, size_t(width));
  }

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<std::vector<std::byte>> bytes_;
};

// Random bytes whose f16 and bf16 values are finite: every 16-bit word has a small exponent.
std::vector<std::byte> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = std::byte(random() & 0x3b);
  return bytes;
}

float plain_value(DType dtype, const std::byte* at) {
  const auto as = [at]<typename T>(T value) {
    std::memcpy(&value, at, sizeof value);
    return value;
  };
  switch (dtype) {
    case DType::f32:
      return as(float());
    case DType::f64:
      return float(as(double()));
    case DType::f16:
      return f16_to_f32(as(uint16_t()));
    case DType::bf16:
      return bf16_to_f32(as(uint16_t()));
    case DType::f8_e4m3:
      return f8_e4m3_to_f32(as(uint8_t()));
    default:
      return f8_e5m2_to_f32(as(uint8_t()));
  }
}

std::vector<float> all_values(DType dtype, const std::vector<std::byte>& bytes, int64_t elements) {
  std::vector<float> values(static_cast<size_t>(elements));
  if (is_block_dtype(dtype)) {
    dequantize_blocks(dtype, bytes.data(), elements, values.data());
    return values;
  }
  for (int64_t i = 0; i < elements; ++i)
    values[size_t(i)] = plain_value(dtype, bytes.data() + i * dtype_block_bytes(dtype));
  return values;
}

const DType kDTypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::f64,  DType::f8_e4m3, DType::f8_e5m2,
                         DType::q8_0, DType::q4_1, DType::q4_0, DType::q5_0, DType::q5_1,    DType::q2_k,
                         DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k};
constexpr int64_t kRows = 50, kColumns = 1024;

struct Stored {
  MemorySource source;
  std::vector<float> values;  // [kRows, kColumns]
  explicit Stored(DType dtype) {
    const auto bytes = random_bytes(size_t(dtype_bytes(dtype, kRows * kColumns)), uint64_t(dtype) + 1);
    values = all_values(dtype, bytes, kRows * kColumns);
    source.add("w", dtype, {kRows, kColumns}, bytes);
  }
};

// On a GPU every stored type becomes bf16: the nearest one to the value. `weight` must be complete.
std::vector<uint16_t> device_elements(const LinearWeight& weight) {
  std::vector<uint16_t> elements(size_t(weight.data.view().elements()));
  const Stream stream(weight.device());
  copy_async(elements.data(), weight.data.data(), elements.size() * 2, weight.device(), stream);
  stream.synchronize();
  return elements;
}

void expect_device_weight(const LinearWeight& weight, const std::vector<float>& values, Range rows, Range columns,
                          int64_t stride, DType dtype) {
  EXPECT_EQ(weight.storage, DType::bf16);
  const std::vector<uint16_t> elements = device_elements(weight);
  for (int64_t r = 0; r < rows.size(); ++r)
    for (int64_t c = 0; c < columns.size(); ++c)
      ASSERT_EQ(elements[size_t(r * columns.size() + c)],
                f32_to_bf16(values[size_t((rows.begin + r) * stride + columns.begin + c)]))
          << dtype_name(dtype) << " row " << rows.begin + r << " column " << columns.begin + c;
}

void expect_weight(const LinearWeight& weight, const std::vector<float>& values, Range rows, Range columns,
                   int64_t stride, DType dtype) {
  ASSERT_EQ(weight.out_features, rows.size());
  ASSERT_EQ(weight.in_features, columns.size());
  if (weight.device().is_cuda()) return expect_device_weight(weight, values, rows, columns, stride, dtype);
  std::vector<float> row(static_cast<size_t>(columns.size()));
  for (int64_t r = 0; r < rows.size(); ++r) {
    cpu::read_panel_row(row.data(), weight, r);
    for (int64_t c = 0; c < columns.size(); ++c)
      ASSERT_EQ(row[size_t(c)], values[size_t((rows.begin + r) * stride + columns.begin + c)])
          << dtype_name(dtype) << " row " << rows.begin + r << " column " << columns.begin + c;
  }
}

class WeightLoaderTest : public BackendTest {};

TEST_P(WeightLoaderTest, ColumnParallelSlicesOfEveryType) {
  for (const DType dtype : kDTypes) {
    const Stored stored(dtype);
    WeightLoader loader(&stored.source, device(), stream(), 0);
    for (const Range rows : {Range{0, kRows}, Range{7, 31}, Range{49, 50}, Range{3, 3}}) {
      const LinearWeight weight = loader.load_columns({{"w", rows, kRows}}, kColumns);
      loader.finish();
      expect_weight(weight, stored.values, rows, {0, kColumns}, kColumns, dtype);
    }
  }
}

// Cuts at multiples of 64 lie inside the blocks of 256: whole blocks are read, the rest is dropped.
TEST_P(WeightLoaderTest, RowParallelSlicesOfEveryType) {
  for (const DType dtype : kDTypes) {
    const Stored stored(dtype);
    WeightLoader loader(&stored.source, device(), stream(), 0);
    for (const Range columns : {Range{0, 64}, Range{64, 320}, Range{256, 512}, Range{960, 1024}, Range{16, 40}}) {
      const LinearWeight weight = loader.load_rows("w", kRows, columns, kColumns, 64);
      loader.finish();
      expect_weight(weight, stored.values, {0, kRows}, columns, kColumns, dtype);
    }
  }
}

// Of more than one chunk each, all under way at once.
TEST_P(WeightLoaderTest, ManyLargeWeightsArriveTogether) {
  constexpr int64_t kLargeRows = 9000;
  constexpr Range kHalf{512, 1024};
  MemorySource source;
  std::vector<std::vector<float>> values;
  const DType dtypes[] = {DType::f32, DType::bf16, DType::f16, DType::q4_1, DType::q5_1};
  for (const DType dtype : dtypes) {
    const auto bytes = random_bytes(size_t(dtype_bytes(dtype, kLargeRows * kColumns)), uint64_t(dtype) + 1);
    values.push_back(all_values(dtype, bytes, kLargeRows * kColumns));
    source.add(std::string(dtype_name(dtype)), dtype, {kLargeRows, kColumns}, bytes);
  }
  WeightLoader loader(&source, device(), stream(), 0);
  std::vector<LinearWeight> rows, columns;
  for (const DType dtype : dtypes) {
    const std::string name(dtype_name(dtype));
    rows.push_back(loader.load_columns({{name, {10, kLargeRows}, kLargeRows}}, kColumns));
    columns.push_back(loader.load_rows(name, kLargeRows, kHalf, kColumns, 64));
  }
  loader.finish();
  int64_t bytes = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    expect_weight(rows[i], values[i], {10, kLargeRows}, {0, kColumns}, kColumns, dtypes[i]);
    expect_weight(columns[i], values[i], {0, kLargeRows}, kHalf, kColumns, dtypes[i]);
    bytes += dtype_bytes(dtypes[i], (kLargeRows - 10) * kColumns + kLargeRows * kHalf.size());
  }
  EXPECT_EQ(loader.bytes_read(), bytes);
}

TEST_P(WeightLoaderTest, VectorsAndMatrices) {
  MemorySource source;
  const auto bytes = random_bytes(300 * 2, 9);
  const std::vector<float> values = all_values(DType::f16, bytes, 300);
  source.add("v", DType::f16, {300}, bytes);
  source.add("m", DType::f16, {20, 15}, bytes);
  WeightLoader loader(&source, device(), stream(), 0);
  const auto host = [&](const Tensor& tensor) {
    std::vector<std::byte> copied(size_t(tensor.view().bytes()));
    copy_async(copied.data(), tensor.data(), copied.size(), device(), stream());
    stream().synchronize();
    return all_values(tensor.view().dtype(), copied, tensor.view().elements());
  };
  const auto kept = [&](float value) { return device().is_cpu() ? value : bf16_to_f32(f32_to_bf16(value)); };
  const auto norm = host(loader.load_vector({{"v", {10, 40}, 300}, {"v", {200, 300}, 300}}, DType::f32, 1.0f));
  ASSERT_EQ(norm.size(), 130u);
  for (size_t i = 0; i < norm.size(); ++i) ASSERT_EQ(norm[i], values[i < 30 ? i + 10 : i + 170] + 1.0f);
  const auto bias = host(loader.load_vector("v", 300, activation())), matrix = host(loader.load_matrix("m", 20, 15));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(bias[i], kept(values[i]));
    ASSERT_EQ(matrix[i], kept(values[i]));
  }
}

TEST(WeightLoader, PackedFormatsStayPackedWhereTheyCan) {
  const Stream stream(kCpu);
  for (const DType dtype : {DType::q8_0, DType::q4_1, DType::q4_k}) {
    const Stored stored(dtype);
    WeightLoader loader(&stored.source, kCpu, stream, 0);
    EXPECT_EQ(loader.load_rows("w", kRows, {64, 320}, kColumns, 64).storage, dtype == DType::q4_k ? DType::f32 : dtype);
    EXPECT_EQ(loader.load_rows("w", kRows, {16, 40}, kColumns, 64).storage, DType::f32);
  }
}

TEST_P(WeightLoaderTest, FusedPartsOfDifferentTypesBecomeFloat32) {
  MemorySource source;
  std::vector<float> expected;
  std::vector<WeightPart> parts;
  for (const DType dtype : {DType::q6_k, DType::bf16, DType::f8_e5m2}) {
    const std::string name(dtype_name(dtype));
    const auto bytes = random_bytes(size_t(dtype_bytes(dtype, 10 * 256)), 3);
    const auto values = all_values(dtype, bytes, 10 * 256);
    expected.insert(expected.end(), values.begin(), values.end());
    source.add(name, dtype, {10, 256}, bytes);
    parts.push_back({name, {0, 10}, 10});
  }
  WeightLoader loader(&source, device(), stream(), 0);
  const LinearWeight weight = loader.load_columns(parts, 256);
  loader.finish();
  EXPECT_EQ(weight.storage, device().is_cpu() ? DType::f32 : DType::bf16);
  expect_weight(weight, expected, {0, 30}, {0, 256}, 256, DType::f32);
}

// GPT-2's Conv1D from Hugging Face ([in, out], the model asks for the transpose) and from GGUF ([out, in], quantized).
TEST_P(WeightLoaderTest, TransposedWeightsOfBothFormats) {
  const auto half = random_bytes(96 * 64 * 2, 5);
  const std::vector<float> stored = all_values(DType::f16, half, 96 * 64);
  std::vector<float> turned(stored.size());
  for (size_t i = 0; i < 96; ++i)
    for (size_t o = 0; o < 64; ++o) turned[o * 96 + i] = stored[i * 64 + o];
  MemorySource source;
  source.add("huggingface", DType::f16, {96, 64}, half);
  const auto blocks = random_bytes(size_t(dtype_bytes(DType::q5_1, 64 * 96)), 6);
  source.add("gguf", DType::q5_1, {64, 96}, blocks, true);
  WeightLoader loader(&source, device(), stream(), 0);
  const auto expect_loaded = [&](const LinearWeight& weight, const std::vector<float>& expected, Range rows,
                                 Range columns, int64_t stride, DType dtype) {
    loader.finish();
    expect_weight(weight, expected, rows, columns, stride, dtype);
  };
  expect_loaded(loader.load_columns({{"huggingface", {5, 40}, 64, true}}, 96), turned, {5, 40}, {0, 96}, 96,
                DType::f16);
  expect_loaded(loader.load_rows("huggingface", 64, {32, 96}, 96, 64, true), turned, {0, 64}, {32, 96}, 96, DType::f16);
  const std::vector<float> values = all_values(DType::q5_1, blocks, 64 * 96);
  expect_loaded(loader.load_columns({{"gguf", {5, 40}, 64, true}}, 96), values, {5, 40}, {0, 96}, 96, DType::q5_1);
  expect_loaded(loader.load_rows("gguf", 64, {32, 96}, 96, 64, true), values, {0, 64}, {32, 96}, 96, DType::q5_1);
}

TEST(WeightLoader, IntegersAndWrongShapesAreRefused) {
  const Stream stream(kCpu);
  MemorySource source;
  source.add("i", DType::i8, {4, 64}, random_bytes(256, 1));
  source.add("v", DType::i64, {4}, random_bytes(32, 1));
  source.add("w", DType::bf16, {4, 64}, random_bytes(512, 1));
  WeightLoader loader(&source, kCpu, stream, 0);
  const std::vector<std::string> parts = {"tensor i", "i8", "integers", "unquantized"};
  expect_error([&] { loader.load_columns({{"i", {0, 4}, 4}}, 64); }, parts);
  expect_error([&] { loader.load_columns({{"w", {0, 4}, 4}, {"i", {0, 4}, 4}}, 64); }, parts);
  expect_error([&] { loader.load_rows("i", 4, {0, 64}, 64, 64); }, parts);
  expect_error([&] { loader.load_matrix("i", 4, 64); }, parts);
  expect_error([&] { loader.load_vector("v", 4, DType::f32); }, {"tensor v", "i64"});
  expect_error([&] { loader.load_columns({{"w", {0, 4}, 5}}, 64); }, {"[4, 64]", "[5, 64]"});
  expect_error([&] { loader.load_columns({{"absent", {0, 4}, 4}}, 64); }, {"no tensor absent"});
}

// A part that fails ends the reads of those before it, whose weight is unwound; the loader serves on.
TEST_P(WeightLoaderTest, AFailedPartEndsTheOthers) {
  MemorySource source;
  const auto bytes = random_bytes(9000 * 1024 * 2, 1);
  source.add("w", DType::bf16, {9000, 1024}, bytes);
  source.add("i", DType::i8, {4, 1024}, random_bytes(4096, 1));
  WeightLoader loader(&source, device(), stream(), 0);
  for (int round = 0; round < 3; ++round) {
    const LinearWeight weight = loader.load_columns({{"w", {0, 9000}, 9000}}, 1024);
    expect_error([&] { loader.load_columns({{"w", {0, 9000}, 9000}, {"w", {0, 9000}, 9001}}, 1024); }, {"[9001, 1024]"});
    expect_error([&] { loader.load_vector("i", 4, DType::f32); }, {"tensor i"});
  }
  const LinearWeight weight = loader.load_columns({{"w", {0, 9000}, 9000}}, 1024);
  loader.finish();
  expect_weight(weight, all_values(DType::bf16, bytes, 9000 * 1024), {0, 9000}, {0, 1024}, 1024, DType::bf16);
}

INSTANTIATE_BACKENDS(WeightLoaderTest);

}  // namespace
}  // namespace trireme::test
