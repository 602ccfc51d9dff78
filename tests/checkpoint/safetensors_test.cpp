#include "checkpoint/safetensors.h"

#include "tests/checkpoint/safetensors_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

std::vector<SafetensorsEntry> read_bytes(const std::string& bytes) {
  const TempDirectory folder;
  return read_safetensors_header(InputFile(folder.write("x.safetensors", bytes)));
}

void expect_refused(const std::string& bytes, const std::vector<std::string>& parts) {
  expect_error([&] { read_bytes(bytes); }, parts);
}

// One tensor "t" with the given fields, and `data_bytes` of data.
void expect_entry_refused(const std::string& entry, size_t data_bytes, const std::vector<std::string>& parts) {
  expect_refused(safetensors_bytes("{\"t\":" + entry + "}", std::string(data_bytes, 'x')), parts);
}

TEST(Safetensors, ListsTensorsInDataOrder) {
  const auto entries = read_bytes(good_safetensors());
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].tensor.name, "a");
  EXPECT_EQ(entries[0].tensor.dtype, DType::f32);
  EXPECT_EQ(entries[0].tensor.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(entries[1].tensor.dtype, DType::bf16);
  EXPECT_EQ(entries[1].offset, entries[0].offset + 24);
  EXPECT_EQ(entries[2].tensor.bytes, 8);
  EXPECT_TRUE(entries[2].tensor.shape.empty());
}

TEST(Safetensors, KnowsEveryDtype) {
  const std::vector<std::tuple<std::string, DType, int>> rows = {
      {"F64", DType::f64, 8},         {"F32", DType::f32, 4},     {"F16", DType::f16, 2}, {"BF16", DType::bf16, 2},
      {"F8_E4M3", DType::f8_e4m3, 1}, {"I64", DType::i64, 8},     {"I32", DType::i32, 4}, {"I16", DType::i16, 2},
      {"I8", DType::i8, 1},           {"U64", DType::u64, 8},     {"U32", DType::u32, 4}, {"U16", DType::u16, 2},
      {"U8", DType::u8, 1},           {"BOOL", DType::boolean, 1}};
  for (const auto& [name, dtype, bytes] : rows) {
    const std::string header =
        "{\"t\":{\"dtype\":\"" + name + "\",\"shape\":[3],\"data_offsets\":[0," + std::to_string(3 * bytes) + "]}}";
    const auto entries = read_bytes(safetensors_bytes(header, std::string(size_t(3 * bytes), 'x')));
    EXPECT_EQ(entries.at(0).tensor.dtype, dtype) << name;
  }
}

TEST(Safetensors, AllowsEmptyTensorsAndEmptyFiles) {
  EXPECT_TRUE(read_bytes(safetensors_bytes("{}", "")).empty());
  const auto entries = read_bytes(safetensors_bytes(
      R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      "xx"));
  EXPECT_EQ(entries.size(), 2u);
}

TEST(Safetensors, RefusesHeadersThatDoNotFit) {
  expect_refused("", {"too short"});
  expect_refused("1234567", {"too short"});
  expect_refused(little_endian(3, 8) + "{}", {"header of 3 bytes in a file of 10"});
  expect_refused(little_endian(100'000'001, 8) + "{}", {"100000001", "at most 100000000"});
  expect_refused(little_endian(~uint64_t(0), 8) + "{}", {"18446744073709551615"});
  expect_refused(little_endian(~uint64_t(0) - 4, 8) + "{}", {"at most 100000000"});
  expect_refused(little_endian(uint64_t(1) << 63, 8) + "{}", {"at most 100000000"});
}

TEST(Safetensors, RefusesBadJson) {
  expect_refused(safetensors_bytes("", ""), {"x.safetensors", "JSON"});
  expect_refused(safetensors_bytes("{\"a\":", ""), {"x.safetensors", "JSON"});
  expect_refused(safetensors_bytes("{} {}", ""), {"JSON"});
  expect_refused(safetensors_bytes("[]", ""), {"not an object"});
  expect_refused(safetensors_bytes("{\"\xff\xfe\":1}", ""), {"JSON"});
  expect_refused(safetensors_bytes(std::string(20, '[') + std::string(20, ']'), ""), {"JSON"});
  expect_refused(safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), {"__metadata__"});
  expect_refused(safetensors_bytes(R"({"__metadata__":[]})", ""), {"__metadata__"});
}

TEST(Safetensors, RefusesNamesThatAppearTwice) {
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_refused(safetensors_bytes("{\"t\":" + entry + ",\"t\":" + entry + "}", "x"), {"twice"});
  expect_refused(safetensors_bytes("{\"t\":" + entry + ",\"\\u0074\":" + entry + "}", "x"), {"twice"});
  expect_entry_refused(R"({"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]})", 1, {"twice"});
  const std::string colon = R"({"a:\":{\\":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  EXPECT_EQ(read_bytes(safetensors_bytes(colon, "x")).at(0).tensor.name, "a:\":{\\");
}

TEST(Safetensors, RefusesIncompleteOrIllTypedEntries) {
  expect_entry_refused("1", 0, {"\"t\"", "object"});
  expect_entry_refused("{}", 0, {"\"t\"", "shape"});
  expect_entry_refused(R"({"shape":[1],"data_offsets":[0,1]})", 1, {"dtype"});
  expect_entry_refused(R"({"dtype":7,"shape":[1],"data_offsets":[0,1]})", 1, {"dtype"});
  expect_entry_refused(R"({"dtype":"F4","shape":[1],"data_offsets":[0,1]})", 1, {"\"t\"", "F8_E5M2", "supported"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})", 1, {"shape"});
  expect_entry_refused(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})", 1, {"shape"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]})", 1, {"shape"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})", 1, {"data_offsets"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})", 1, {"data_offsets"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]})", 1, {"data_offsets"});
}

TEST(Safetensors, RefusesShapesThatDoNotFillTheirSpan) {
  expect_entry_refused(R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,15]})", 15, {"\"t\"", "[2, 2]", "15 bytes"});
  expect_entry_refused(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0, {"does not fill"});
  expect_entry_refused(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})", 0, {"does not fill"});
  expect_entry_refused(R"({"dtype":"U8","shape":[9223372036854775807,2],"data_offsets":[0,0]})", 0, {"does not fill"});
  // No elements, but rows whose bytes cannot be counted.
  expect_entry_refused(R"({"dtype":"F64","shape":[0,4179340454199820288],"data_offsets":[0,0]})", 0, {"does not fill"});
  expect_entry_refused(R"({"dtype":"U8","shape":[4294967296,0,4294967296],"data_offsets":[0,0]})", 0, {"does not fill"});
}

TEST(Safetensors, RefusesOverlapGapTruncationAndTrailingBytes) {
  const auto two = [](const std::string& second_span) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":)" +
           second_span + "}}";
  };
  EXPECT_EQ(read_bytes(safetensors_bytes(two("[4,8]"), "12345678")).size(), 2u);
  expect_refused(safetensors_bytes(two("[3,7]"), "1234567"), {"\"b\"", "overlap"});
  expect_refused(safetensors_bytes(two("[0,4]"), "1234"), {"overlap"});
  expect_refused(safetensors_bytes(two("[5,9]"), "123456789"), {"\"b\"", "gap"});
  expect_refused(safetensors_bytes(two("[4,8]"), "1234567"), {"\"b\"", "truncated", "download"});
  expect_refused(safetensors_bytes(two("[4,8]"), "123456789"), {"1 bytes after the last tensor"});
  expect_entry_refused(R"({"dtype":"U8","shape":[1],"data_offsets":[1,2]})", 2, {"gap"});
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string good = good_safetensors();
  for (size_t length = 0; length < good.size(); ++length) expect_refused(good.substr(0, length), {"x.safetensors"});
}

TEST(Safetensors, EscapesNamesInErrors) {
  expect_refused(safetensors_bytes("{\"a\\u001b[2J\":1}", ""), {"a\\x1b[2J"});
  expect_refused(safetensors_bytes("{\"" + std::string(5000, 'n') + "\":1}", ""), {"nnn...\""});
}

TEST(Safetensors, RefusesWhatIsNoRegularFile) {
  expect_error([] { InputFile("/dev/null"); }, {"not a regular file"});
  expect_error([] { InputFile("/nonexistent/x"); }, {"/nonexistent/x", "No such file"});
  const TempDirectory folder;
  expect_error([&] { InputFile(folder.path()); }, {"not a regular file"});
}

}  // namespace
}  // namespace trireme::test
