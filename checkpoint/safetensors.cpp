#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checked.h"

namespace trireme {
namespace {

constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int64_t kPrefixBytes = 8;
constexpr int kMaxHeaderDepth = 8;
constexpr size_t kMaxDimensions = 8;

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr std::array<DTypeName, 15> kDTypes = {{
    {"F32", DType::f32},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"F64", DType::f64},
    {"F8_E4M3", DType::f8_e4m3},
    {"F8_E5M2", DType::f8_e5m2},
    {"I64", DType::i64},
    {"I32", DType::i32},
    {"I16", DType::i16},
    {"I8", DType::i8},
    {"U64", DType::u64},
    {"U32", DType::u32},
    {"U16", DType::u16},
    {"U8", DType::u8},
    {"BOOL", DType::boolean},
}};

[[noreturn]] void fail(const InputFile& file, const std::string& problem) {
  throw CheckpointError(file.path() + ": " + problem + ": the file is damaged; download or copy it again");
}

std::string read_header_text(const InputFile& file) {
  std::array<std::byte, kPrefixBytes> prefix;
  if (file.size() < kPrefixBytes) fail(file, "too short for a safetensors header");
  file.read(0, kPrefixBytes, prefix.data(), "the header size");
  uint64_t claimed = 0;
  for (size_t i = 0; i < prefix.size(); ++i) claimed |= uint64_t(prefix[i]) << (8 * i);
  if (claimed > uint64_t(kMaxHeaderBytes))
    fail(file, "header of " + std::to_string(claimed) + " bytes, at most " + std::to_string(kMaxHeaderBytes) +
                   " are allowed");
  if (int64_t(claimed) > file.size() - kPrefixBytes)
    fail(file, "header of " + std::to_string(claimed) + " bytes in a file of " + std::to_string(file.size()));
  std::string text(size_t(claimed), '\0');
  file.read(kPrefixBytes, int64_t(claimed), reinterpret_cast<std::byte*>(text.data()), "the header");
  return text;
}

size_t count_keys(const json::value& value) {
  size_t count = 0;
  if (const auto* object = value.if_object()) {
    count = object->size();
    for (const auto& member : *object) count += count_keys(member.value());
  } else if (const auto* array = value.if_array()) {
    for (const auto& item : *array) count += count_keys(item);
  }
  return count;
}

// In valid JSON every colon outside a string follows one key, so a key that the parser merged into an earlier
// one leaves fewer keys than colons.
bool has_duplicate_keys(std::string_view valid_json, const json::value& parsed) {
  size_t colons = 0;
  bool in_string = false;
  for (size_t i = 0; i < valid_json.size(); ++i) {
    if (in_string && valid_json[i] == '\\')
      ++i;
    else if (valid_json[i] == '"')
      in_string = !in_string;
    else if (!in_string && valid_json[i] == ':')
      ++colons;
  }
  return colons != count_keys(parsed);
}

// A non-negative integer that fits int64, or nothing.
std::optional<int64_t> as_size(const json::value& value) {
  const int64_t* number = value.if_int64();
  if (!number || *number < 0) return std::nullopt;
  return *number;
}

std::optional<std::vector<int64_t>> as_sizes(const json::value* value, size_t max_count) {
  const json::array* array = value ? value->if_array() : nullptr;
  if (!array || array->size() > max_count) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const json::value& item : *array) {
    const auto size = as_size(item);
    if (!size) return std::nullopt;
    sizes.push_back(*size);
  }
  return sizes;
}

DType parse_dtype(const InputFile& file, const std::string& name, const json::value* value) {
  const json::string* text = value ? value->if_string() : nullptr;
  if (!text) fail(file, "tensor " + quoted(name) + " has no dtype");
  for (const DTypeName& row : kDTypes) {
    if (row.name == std::string_view(*text)) return row.dtype;
  }
  std::string known;
  for (const DTypeName& row : kDTypes) known += " " + std::string(row.name);
  throw CheckpointError(file.path() + ": tensor " + quoted(name) + " has dtype " + quoted(*text) +
                        ", which is not supported; supported are" + known);
}

// The span is relative to the data section here.
SafetensorsEntry parse_entry(const InputFile& file, const std::string& name, const json::value& value) {
  const json::object* object = value.if_object();
  const std::string where = "tensor " + quoted(name);
  if (!object) fail(file, where + " is not described by an object");
  const auto shape = as_sizes(object->if_contains("shape"), kMaxDimensions);
  const auto span = as_sizes(object->if_contains("data_offsets"), 2);
  if (!shape) fail(file, where + " has no shape of up to 8 sizes");
  if (!span || span->size() != 2 || (*span)[0] > (*span)[1]) fail(file, where + " has no data_offsets [begin, end]");
  SafetensorsEntry entry;
  entry.tensor.name = name;
  entry.tensor.file = file.path();
  entry.tensor.dtype = parse_dtype(file, name, object->if_contains("dtype"));
  entry.tensor.shape = *shape;
  entry.tensor.bytes = (*span)[1] - (*span)[0];
  entry.offset = (*span)[0];
  const auto elements = checked_elements(*shape);
  const auto bytes = elements ? checked_multiply(*elements, dtype_block_bytes(entry.tensor.dtype)) : std::nullopt;
  if (!bytes || *bytes != entry.tensor.bytes)
    fail(file, where + " of shape " + shape_text(*shape) + " and dtype " + std::string(dtype_name(entry.tensor.dtype)) +
                   " does not fill its span of " + std::to_string(entry.tensor.bytes) + " bytes");
  return entry;
}

void check_metadata(const InputFile& file, const json::value& value) {
  const json::object* object = value.if_object();
  const bool strings_only = object && std::all_of(object->begin(), object->end(),
                                                  [](const auto& member) { return member.value().is_string(); });
  if (!strings_only) fail(file, "__metadata__ is not an object of strings");
}

// Spans must follow each other without gap or overlap and end with the file.
void place_entries(const InputFile& file, int64_t data_begin, std::vector<SafetensorsEntry>& entries) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tuple(a.offset, a.tensor.bytes, a.tensor.name) < std::tuple(b.offset, b.tensor.bytes, b.tensor.name);
  });
  int64_t expected = 0;
  const int64_t data_bytes = file.size() - data_begin;
  for (SafetensorsEntry& entry : entries) {
    const std::string where = "tensor " + quoted(entry.tensor.name);
    if (entry.offset != expected)
      fail(file, where + " begins at " + std::to_string(entry.offset) + " where " + std::to_string(expected) +
                     " is expected (" + (entry.offset < expected ? "overlap" : "gap") + ")");
    if (entry.tensor.bytes > data_bytes - entry.offset)
      fail(file, where + " ends at byte " + std::to_string(data_begin + entry.offset + entry.tensor.bytes) +
                     " of a file of " + std::to_string(file.size()) + " (truncated)");
    expected += entry.tensor.bytes;
    entry.offset += data_begin;
  }
  if (expected != data_bytes) fail(file, std::to_string(data_bytes - expected) + " bytes after the last tensor");
}

}  // namespace

std::vector<SafetensorsEntry> read_safetensors_header(const InputFile& file) {
  const std::string text = read_header_text(file);
  const json::value header = parse_json(text, "the header of " + file.path(), kMaxHeaderDepth);
  const json::object* object = header.if_object();
  if (!object) fail(file, "the header is not an object");
  if (has_duplicate_keys(text, header)) fail(file, "the header has a name twice");
  std::vector<SafetensorsEntry> entries;
  for (const auto& member : *object) {
    if (member.key() == "__metadata__")
      check_metadata(file, member.value());
    else
      entries.push_back(parse_entry(file, std::string(member.key()), member.value()));
  }
  place_entries(file, kPrefixBytes + int64_t(text.size()), entries);
  return entries;
}

}  // namespace trireme
