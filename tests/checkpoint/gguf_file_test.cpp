#include "checkpoint/gguf_file.h"

#include <limits>

#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

GgufContents read_bytes(const std::string& bytes) {
  const TempDirectory folder;
  return read_gguf_header(InputFile(folder.write("x.gguf", bytes)));
}

void expect_refused(const std::string& bytes, const std::vector<std::string>& parts) {
  expect_error([&] { read_bytes(bytes); }, parts);
}

constexpr int64_t kLow = std::numeric_limits<int64_t>::min(), kHigh = std::numeric_limits<int64_t>::max();

TEST(GgufFile, ReadsMetadataOfEveryType) {
  const GgufContents contents = read_gguf_header(InputFile(golden_path("tiny.gguf")));
  const GgufMetadata& metadata = contents.metadata;
  for (const char* name : {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"})
    EXPECT_EQ(metadata.integer(std::string("test.") + name, kLow, kHigh), 1) << name;
  EXPECT_EQ(metadata.number("test.float32", 0), 1);
  EXPECT_EQ(metadata.number("test.float64", 0), 1);
  EXPECT_TRUE(metadata.flag("test.bool", false));
  EXPECT_EQ(metadata.integers("test.integers"), (std::vector<int64_t>{-1, 2, 3}));
  EXPECT_EQ(metadata.integers("test.flags"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(metadata.texts("tokenizer.ggml.tokens").at(39), "t39");
  EXPECT_EQ(metadata.text("general.architecture", ""), "llama");
}

TEST(GgufFile, KeepsSignsAndExtremes) {
  GgufBuilder builder;
  builder.key("i8", kI8, "\xff")
      .key("i16", kI16, little_endian(0xfffe, 2))
      .key("i64", kI64, little_endian(uint64_t(1) << 63, 8));
  builder.key("u64", kU64, little_endian(~uint64_t(0), 8)).key("u32", kU32, little_endian(0xffffffff, 4));
  const GgufMetadata metadata = read_bytes(builder.bytes()).metadata;
  EXPECT_EQ(metadata.integer("i8", kLow, kHigh), -1);
  EXPECT_EQ(metadata.integer("i16", kLow, kHigh), -2);
  EXPECT_EQ(metadata.integer("i64", kLow, kHigh), kLow);
  EXPECT_EQ(metadata.integer("u32", kLow, kHigh), 0xffffffff);
  EXPECT_EQ(metadata.number("u64", 0), 18446744073709551616.0);
}

TEST(GgufFile, MetadataErrorsNameTheKey) {
  const GgufMetadata metadata = read_bytes(GgufBuilder().u32("n", 7).text("t", "x").f32("nan", NAN).bytes()).metadata;
  expect_error([&] { metadata.integer("absent", 0, 9); }, {"x.gguf", "\"absent\"", "missing"});
  expect_error([&] { metadata.integer("n", 0, 6); }, {"\"n\"", "is 7"});
  expect_error([&] { metadata.integer("t", 0, 6); }, {"\"t\"", "not an integer"});
  expect_error([&] { metadata.text("n", ""); }, {"\"n\"", "not a string"});
  expect_error([&] { metadata.flag("n", false); }, {"\"n\"", "not a bool"});
  expect_error([&] { metadata.number("nan", 0); }, {"\"nan\"", "finite"});
  expect_error([&] { metadata.texts("n"); }, {"\"n\"", "array of strings"});
  expect_error([&] { metadata.integers("n"); }, {"\"n\"", "array of integers"});
  EXPECT_EQ(metadata.integer("absent", 0, 9, 5), 5);
}

TEST(GgufFile, ListsTensorsWithRowMajorShapes) {
  const std::string bytes = GgufBuilder().tensor("a", {2}, {1, 2}).zeros("b", {4, 3}).bytes();
  const GgufContents contents = read_bytes(bytes);
  ASSERT_EQ(contents.tensors.size(), 2u);
  EXPECT_EQ(contents.tensors[1].shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(contents.tensors[1].bytes, 48);
  EXPECT_EQ(contents.tensors[1].offset + 48, int64_t(bytes.size()));
}

TEST(GgufFile, ReadsVersion2AndOtherAlignments) {
  GgufBuilder builder;
  builder.version = 2;
  builder.alignment = 256;
  builder.u32("general.alignment", 256).tensor("a", {1}, {1}).tensor("b", {1}, {2});
  EXPECT_EQ(read_bytes(builder.bytes()).tensors[1].offset % 256, 0);
}

TEST(GgufFile, RefusesOtherFilesAndVersions) {
  expect_refused("", {"truncated"});
  expect_refused("GGML", {"does not begin with \"GGUF\""});
  GgufBuilder builder;
  builder.version = 1;
  expect_refused(builder.bytes(), {"version 1"});
  builder.version = 0x03000000;
  expect_refused(builder.bytes(), {"big-endian"});
}

TEST(GgufFile, RefusesCountsThatCannotFit) {
  GgufBuilder builder = GgufBuilder().u32("n", 7);
  builder.tensor_count = ~uint64_t(0);
  expect_refused(builder.bytes(), {"tensor count of 18446744073709551615"});
  builder.tensor_count = 0;
  builder.key_count = uint64_t(1) << 40;
  expect_refused(builder.bytes(), {"metadata count"});
  const auto array = [](uint32_t type, uint64_t count) {
    return GgufBuilder().key("a", kArray, little_endian(type, 4) + little_endian(count, 8)).bytes();
  };
  expect_refused(array(kU64, uint64_t(1) << 61), {"metadata array of 2305843009213693952"});
  expect_refused(array(kString, 1000), {"metadata array"});
  expect_refused(array(kArray, 1), {"array of arrays"});
  expect_refused(array(99, 1), {"unknown type 99"});
  expect_refused(GgufBuilder().key("s", kString, little_endian(~uint64_t(0), 8)).bytes(),
                 {"string of 18446744073709551615"});
  expect_refused(GgufBuilder().key("s", 13, "").bytes(), {"unknown type 13"});
}

TEST(GgufFile, RefusesImpossibleTensors) {
  const auto refuse = [](const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset,
                         const std::vector<std::string>& parts) {
    GgufBuilder builder;
    builder.info("t", dims, type, offset);
    builder.data.assign(1024, '\0');
    expect_refused(builder.bytes(), parts);
  };
  refuse({8, 8, 8, 8, 8}, 0, 0, {"\"t\"", "5 dimensions"});
  refuse({8}, 999, 0, {"\"t\"", "unknown type 999"});
  refuse({33}, 3, 0, {"\"t\"", "[33]", "Q4_1"});
  refuse({uint64_t(1) << 32, uint64_t(1) << 32}, 0, 0, {"\"t\"", "impossible shape"});
  refuse({uint64_t(1) << 62}, 0, 0, {"\"t\"", "impossible shape"});
  refuse({uint64_t(1) << 62, 0}, 0, 0, {"\"t\"", "impossible shape"});  // no rows, of columns that cannot be counted
  refuse({~uint64_t(0)}, 0, 0, {"\"t\"", "impossible"});
  refuse({8}, 0, ~uint64_t(0) - 31, {"\"t\"", "impossible"});
  refuse({8}, 0, (uint64_t(1) << 63) - 32, {"\"t\"", "ends after"});
  refuse({8}, 0, 8, {"\"t\"", "not aligned"});
  refuse({8}, 0, 1024, {"\"t\"", "ends after the file's"});
  refuse({257}, 0, 0, {"\"t\"", "ends after the file's"});
}

TEST(GgufFile, RefusesOverlapsAndNamesThatAppearTwice) {
  GgufBuilder builder;
  builder.info("a", {16}, 0, 0).info("b", {16}, 0, 32);
  builder.data.assign(1024, '\0');
  expect_refused(builder.bytes(), {"\"a\"", "\"b\"", "overlap"});
  expect_refused(GgufBuilder().zeros("a", {8}).zeros("a", {8}).bytes(), {"\"a\"", "twice"});
  expect_refused(GgufBuilder().u32("n", 1).u32("n", 1).bytes(), {"\"n\"", "twice"});
}

TEST(GgufFile, RefusesBadAlignments) {
  for (const uint64_t alignment : {uint64_t(0), uint64_t(3), uint64_t(1) << 30})
    expect_refused(GgufBuilder().u32("general.alignment", alignment).bytes(), {"alignment"});
}

TEST(GgufFile, RefusesEveryTruncation) {
  const std::string good = small_llama_gguf().bytes();
  ASSERT_EQ(read_bytes(good).tensors.size(), 11u);
  for (size_t length = 0; length < good.size(); ++length) expect_refused(good.substr(0, length), {"x.gguf"});
}

}  // namespace
}  // namespace trireme::test
