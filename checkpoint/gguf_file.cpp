#include "checkpoint/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "base/error.h"
#include "checkpoint/checked.h"

static_assert(std::endian::native == std::endian::little, "checkpoint files are read as little-endian");

namespace trireme {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kMaxHeaderBytes = int64_t(128) << 20;
constexpr int64_t kWindowBytes = int64_t(256) << 10;
constexpr int64_t kMaxKeys = 1 << 16;
constexpr int64_t kMaxTensors = 1 << 20;
constexpr int64_t kMaxKeyBytes = 65535;
constexpr int64_t kMaxTensorNameBytes = 256;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMaxAlignment = 1 << 20;

enum class ValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
constexpr uint32_t kValueTypes = 13;
constexpr int64_t kMinValueBytes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

bool is_float(ValueType type) { return type == ValueType::f32 || type == ValueType::f64; }

// Reads forward through the header by a window; every size is checked against what is left first.
class HeaderReader {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file), limit_(std::min(file.size(), kMaxHeaderBytes)) {}

  int64_t position() const { return position_; }

  [[noreturn]] void fail(const std::string& problem) const {
    throw CheckpointError(file_.path() + ": " + problem + " (near byte " + std::to_string(position_) +
                          "): the file is truncated or damaged; download or copy it again");
  }

  template <typename T>
  T number() {
    T value;
    take(int64_t(sizeof(T)), reinterpret_cast<std::byte*>(&value));
    return value;
  }

  // A count of things of at least `unit_bytes` each.
  int64_t count(int64_t unit_bytes, int64_t max, const char* what) {
    const uint64_t claimed = number<uint64_t>();
    if (claimed > uint64_t(max) || claimed > uint64_t((limit_ - position_) / unit_bytes))
      fail(std::string(what) + " of " + std::to_string(claimed) + " does not fit");
    return int64_t(claimed);
  }

  std::string text(int64_t max_bytes, const char* what) {
    std::string value(size_t(count(1, max_bytes, what)), '\0');
    take(int64_t(value.size()), reinterpret_cast<std::byte*>(value.data()));
    return value;
  }

 private:
  void take(int64_t bytes, std::byte* destination) {
    if (bytes > limit_ - position_) fail("the header does not end where the file does");
    while (bytes > 0) {
      if (position_ >= window_begin_ + int64_t(window_.size())) load_window();
      const int64_t at = position_ - window_begin_;
      const int64_t available = std::min(bytes, int64_t(window_.size()) - at);
      std::memcpy(destination, window_.data() + at, size_t(available));
      position_ += available;
      destination += available;
      bytes -= available;
    }
  }

  void load_window() {
    window_begin_ = position_;
    window_.resize(size_t(std::min(kWindowBytes, limit_ - position_)));
    file_.read(position_, int64_t(window_.size()), window_.data(), "the GGUF header");
  }

  const InputFile& file_;
  const int64_t limit_;
  int64_t position_ = 0;
  int64_t window_begin_ = 0;
  std::vector<std::byte> window_;
};

ValueType read_value_type(HeaderReader& reader) {
  const uint32_t type = reader.number<uint32_t>();
  if (type >= kValueTypes) reader.fail("metadata of unknown type " + std::to_string(type));
  return ValueType(type);
}

double read_float(HeaderReader& reader, ValueType type) {
  return type == ValueType::f32 ? double(reader.number<float>()) : reader.number<double>();
}

int64_t read_integer(HeaderReader& reader, ValueType type) {
  switch (type) {
    case ValueType::u8:
      return reader.number<uint8_t>();
    case ValueType::i8:
      return reader.number<int8_t>();
    case ValueType::u16:
      return reader.number<uint16_t>();
    case ValueType::i16:
      return reader.number<int16_t>();
    case ValueType::u32:
      return reader.number<uint32_t>();
    case ValueType::i32:
      return reader.number<int32_t>();
    case ValueType::boolean:
      return reader.number<uint8_t>() != 0;
    default:
      return reader.number<int64_t>();
  }
}

GgufValue read_array(HeaderReader& reader) {
  const ValueType type = read_value_type(reader);
  if (type == ValueType::array) reader.fail("metadata array of arrays");
  const int64_t count =
      reader.count(kMinValueBytes[size_t(type)], std::numeric_limits<int64_t>::max(), "metadata array");
  const auto fill = [&](auto values, auto&& read_one) {
    values.reserve(size_t(count));
    for (int64_t i = 0; i < count; ++i) values.push_back(read_one());
    return GgufValue(std::move(values));
  };
  if (type == ValueType::string)
    return fill(std::vector<std::string>(), [&] { return reader.text(kMaxHeaderBytes, "string"); });
  if (is_float(type)) return fill(std::vector<double>(), [&] { return read_float(reader, type); });
  return fill(std::vector<int64_t>(), [&] { return read_integer(reader, type); });
}

GgufValue read_value(HeaderReader& reader) {
  const ValueType type = read_value_type(reader);
  if (type == ValueType::array) return read_array(reader);
  if (type == ValueType::string) return reader.text(kMaxHeaderBytes, "string");
  if (type == ValueType::boolean) return reader.number<uint8_t>() != 0;
  if (is_float(type)) return read_float(reader, type);
  if (type == ValueType::u64) {
    const uint64_t value = reader.number<uint64_t>();
    if (value > uint64_t(std::numeric_limits<int64_t>::max())) return double(value);
    return int64_t(value);
  }
  return read_integer(reader, type);
}

// The offset is relative to the data section here.
GgufTensor read_tensor(HeaderReader& reader) {
  GgufTensor tensor;
  tensor.name = reader.text(kMaxTensorNameBytes, "tensor name");
  const std::string where = "tensor " + quoted(tensor.name);
  const uint32_t dimensions = reader.number<uint32_t>();
  if (dimensions > kMaxDimensions) reader.fail(where + " has " + std::to_string(dimensions) + " dimensions");
  for (uint32_t d = 0; d < dimensions; ++d) tensor.shape.insert(tensor.shape.begin(), reader.number<int64_t>());
  const uint32_t type = reader.number<uint32_t>();
  tensor.type = find_gguf_type(type);
  if (!tensor.type) reader.fail(where + " has the unknown type " + std::to_string(type));
  tensor.offset = reader.number<int64_t>();
  const auto elements = checked_elements(tensor.shape);
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (!elements || row % tensor.type->block_elements != 0)
    reader.fail(where + " has the impossible shape " + shape_text(tensor.shape) + " for " +
                std::string(tensor.type->name));
  const auto bytes = checked_multiply(*elements / tensor.type->block_elements, tensor.type->block_bytes);
  if (!bytes || tensor.offset < 0) reader.fail(where + " has an impossible size or offset");
  tensor.bytes = *bytes;
  return tensor;
}

// Makes offsets absolute; spans must be aligned, inside the file, and disjoint.
void place_tensors(const HeaderReader& reader, int64_t file_bytes, int64_t alignment,
                   std::vector<GgufTensor>& tensors) {
  const int64_t data_begin = (reader.position() + alignment - 1) / alignment * alignment;
  std::vector<const GgufTensor*> order;
  for (GgufTensor& tensor : tensors) {
    const std::string where = "tensor " + quoted(tensor.name);
    if (tensor.offset % alignment != 0) reader.fail(where + " is not aligned to " + std::to_string(alignment));
    const auto begin = checked_add(data_begin, tensor.offset);
    const auto end = begin ? checked_add(*begin, tensor.bytes) : std::nullopt;
    if (!end || *end > file_bytes)
      reader.fail(where + " of " + std::to_string(tensor.bytes) + " bytes at data offset " +
                  std::to_string(tensor.offset) + " ends after the file's " + std::to_string(file_bytes) + " bytes");
    tensor.offset = *begin;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes)
      reader.fail("tensors " + quoted(order[i - 1]->name) + " and " + quoted(order[i]->name) + " overlap");
  }
}

void check_preamble(HeaderReader& reader, const std::string& path) {
  if (reader.number<uint32_t>() != kMagic)
    throw CheckpointError(path +
                          " does not begin with \"GGUF\": it is not a GGUF file, or its download is not complete");
  const uint32_t version = reader.number<uint32_t>();
  if (version == 2 || version == 3) return;
  const bool big_endian = version == 0x03000000 || version == 0x02000000;
  throw CheckpointError(path + " is GGUF " +
                        (big_endian ? "in big-endian order" : "of version " + std::to_string(version)) +
                        "; versions 2 and 3 in little-endian order are read: convert the model anew");
}

}  // namespace

GgufContents read_gguf_header(const InputFile& file) {
  HeaderReader reader(file);
  check_preamble(reader, file.path());
  GgufContents contents{GgufMetadata(file.path()), {}};
  constexpr int64_t kMinTensorBytes = 8 + 4 + 4 + 8, kMinKeyBytes = 8 + 4 + 1;
  const int64_t tensor_count = reader.count(kMinTensorBytes, kMaxTensors, "tensor count");
  const int64_t key_count = reader.count(kMinKeyBytes, kMaxKeys, "metadata count");
  for (int64_t i = 0; i < key_count; ++i) {
    const std::string key = reader.text(kMaxKeyBytes, "metadata key");
    contents.metadata.add(key, read_value(reader));
  }
  std::set<std::string> names;
  for (int64_t i = 0; i < tensor_count; ++i) {
    contents.tensors.push_back(read_tensor(reader));
    if (!names.insert(contents.tensors.back().name).second)
      reader.fail("tensor " + quoted(contents.tensors.back().name) + " appears twice");
  }
  const int64_t alignment = contents.metadata.integer("general.alignment", 1, kMaxAlignment, 32);
  if (!std::has_single_bit(uint64_t(alignment))) reader.fail("alignment " + std::to_string(alignment));
  place_tensors(reader, file.size(), alignment, contents.tensors);
  return contents;
}

}  // namespace trireme
