#include <thread>

#include "checkpoint/safetensors.h"
#include "tests/checkpoint/safetensors_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

std::string single_tensor(const std::string& name, const std::string& data) {
  const std::string size = std::to_string(data.size());
  return safetensors_bytes(
      "{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" + size + "],\"data_offsets\":[0," + size + "]}}", data);
}

std::vector<std::byte> read_all(const TensorSource& source, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
  source.read(tensor, 0, tensor.rows(), 0, tensor.columns(), bytes.data());
  return bytes;
}

// A [rows, columns] I16 tensor "m" whose element (r, c) is r * columns + c, modulo 2^16.
std::string matrix_file(int64_t rows, int64_t columns) {
  std::string data;
  for (int64_t i = 0; i < rows * columns; ++i) data += little_endian(uint64_t(i & 0xffff), 2);
  return safetensors_bytes("{\"m\":{\"dtype\":\"I16\",\"shape\":[" + std::to_string(rows) + "," +
                               std::to_string(columns) + "],\"data_offsets\":[0," + std::to_string(data.size()) + "]}}",
                           data);
}

void expect_slice(const TensorSource& source, int64_t row_begin, int64_t row_end, int64_t column_begin,
                  int64_t column_end) {
  const TensorInfo& tensor = source.require("m");
  const int64_t width = column_end - column_begin;
  std::vector<uint16_t> values(size_t((row_end - row_begin) * width) + 1, 0xabcd);
  source.read(tensor, row_begin, row_end, column_begin, column_end, reinterpret_cast<std::byte*>(values.data()));
  for (int64_t r = row_begin; r < row_end; ++r)
    for (int64_t c = column_begin; c < column_end; ++c)
      ASSERT_EQ(values[size_t((r - row_begin) * width + c - column_begin)], uint16_t(r * tensor.columns() + c))
          << r << "," << c;
  EXPECT_EQ(values.back(), 0xabcd) << "written past the slice";
}

TEST(SafetensorsSource, SlicesEqualTheFullRead) {
  const TempDirectory folder;
  folder.write("model.safetensors", matrix_file(37, 300));
  const auto source = open_safetensors(folder.path(), "");
  for (const auto& [r0, r1] : {std::pair<int64_t, int64_t>{0, 37}, {5, 6}, {36, 37}, {7, 7}, {0, 20}})
    for (const auto& [c0, c1] : {std::pair<int64_t, int64_t>{0, 300}, {0, 1}, {299, 300}, {17, 17}, {100, 233}})
      expect_slice(*source, r0, r1, c0, c1);
}

TEST(SafetensorsSource, SlicesOfWideAndOfLargeMatrices) {
  const TempDirectory folder;
  folder.write("model.safetensors", matrix_file(5, 9000));  // wide slices are read row by row
  expect_slice(*open_safetensors(folder.path(), ""), 1, 4, 100, 8000);
  folder.write("model.safetensors", matrix_file(3000, 700));  // narrow ones in several buffers
  expect_slice(*open_safetensors(folder.path(), ""), 10, 2999, 3, 400);
}

TEST(SafetensorsSource, ThreadsReadAtOnce) {
  const TempDirectory folder;
  folder.write("model.safetensors", matrix_file(64, 256));
  const auto source = open_safetensors(folder.path(), "");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) expect_slice(*source, t * 16, t * 16 + 16, t, 200 + t);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(SafetensorsSource, RefusesSlicesOutsideTheTensor) {
  const TempDirectory folder;
  folder.write("model.safetensors", matrix_file(4, 8));
  const auto source = open_safetensors(folder.path(), "");
  const TensorInfo& tensor = source->require("m");
  std::byte byte{};
  expect_error([&] { source->read(tensor, 0, 5, 0, 8, &byte); }, {"m", "4 x 8", "[0, 5)"});
  expect_error([&] { source->read(tensor, -1, 0, 0, 8, &byte); }, {"outside"});
  expect_error([&] { source->read(tensor, 2, 1, 0, 8, &byte); }, {"outside"});
  expect_error([&] { source->read(tensor, 0, 1, 0, 9, &byte); }, {"outside"});
}

TEST(SafetensorsSource, FileThatShrinksAfterOpeningIsAnError) {
  const TempDirectory folder;
  const std::string path = folder.write("model.safetensors", matrix_file(64, 64));
  const auto source = open_safetensors(folder.path(), "");
  std::filesystem::resize_file(path, 1000);
  expect_error([&] { read_all(*source, source->require("m")); }, {"model.safetensors", "truncated", "tensor m"});
}

TEST(SafetensorsSource, ReadsShardsThroughTheIndex) {
  const TempDirectory folder;
  folder.write("model-a.safetensors", single_tensor("first", "abc"));
  folder.write("model-b.safetensors", single_tensor("second", "defg"));
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":7},"weight_map":{"first":"model-a.safetensors","second":"model-b.safetensors"}})");
  const auto source = open_safetensors(folder.path(), "");
  EXPECT_EQ(source->tensors().size(), 2u);
  EXPECT_EQ(char(read_all(*source, source->require("second"))[3]), 'g');
  expect_error([&] { source->require("third"); }, {"no tensor third", "model-a.safetensors"});
  expect_error([&] { source->require("first", {4}); }, {"first", "[3]", "[4]", "different models"});
  EXPECT_EQ(source->require("first", {3}).bytes, 3);
}

TEST(SafetensorsSource, RefusesIndexesThatNameOtherPlaces) {
  for (const std::string name : {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a..b"}) {
    const TempDirectory folder;
    folder.write("model.safetensors.index.json", "{\"weight_map\":{\"t\":\"" + name + "\"}}");
    expect_error([&] { open_safetensors(folder.path(), ""); }, {"index.json", "\"t\"", "plain name"});
  }
}

TEST(SafetensorsSource, NamesMissingAndMismatchingFiles) {
  const TempDirectory folder;
  const auto open = [&] { open_safetensors(folder.path(), "REMEDY"); };
  expect_error(open, {"model.safetensors", "REMEDY"});
  folder.write("pytorch_model.bin", "x");
  expect_error(open, {"pytorch_model.bin", "safetensors"});
  folder.write("model-00001-of-00002.safetensors", single_tensor("t", "x"));
  expect_error(open, {"index.json is missing", "REMEDY"});
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"t":"model-00001-of-00002.safetensors","u":"model-00002-of-00002.safetensors"}})");
  expect_error(open, {"model-00002-of-00002.safetensors is missing", "REMEDY"});
  folder.write("model-00002-of-00002.safetensors", single_tensor("v", "x"));
  expect_error(open, {"\"u\"", "model-00002-of-00002.safetensors", "but it is not", "REMEDY"});
  folder.write("model-00002-of-00002.safetensors", single_tensor("t", "x"));
  expect_error(open, {"\"t\"", "again in"});
  folder.write("model.safetensors.index.json", R"({"weight_map":[]})");
  expect_error(open, {"weight_map"});
}

TEST(SafetensorsSource, PrefixesNamesOfInnerModels) {
  const TempDirectory folder;
  folder.write("model.safetensors", single_tensor("wte.weight", "abc"));
  const auto source = open_safetensors(folder.path(), "");
  source->prefix_names("transformer.", "lm_head.");
  EXPECT_EQ(char(read_all(*source, source->require("transformer.wte.weight"))[0]), 'a');
  EXPECT_EQ(source->find("wte.weight"), nullptr);
  source->replace_prefix("transformer.", "model.");
  EXPECT_EQ(char(read_all(*source, source->require("model.wte.weight"))[0]), 'a');
  EXPECT_EQ(source->find("transformer.wte.weight"), nullptr);
}

}  // namespace
}  // namespace trireme::test
