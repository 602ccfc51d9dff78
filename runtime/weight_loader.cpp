#include "runtime/weight_loader.h"

#include <cmath>
#include <cstring>

#include "base/backend_traits.h"
#include "base/half.h"
#include "base/progress.h"
#include "runtime/quant/block_formats.h"

namespace trireme {
namespace {

constexpr int64_t kChunkBytes = 16 << 20;  // one read: large enough for the disk, small enough for progress

uint64_t name_seed(uint64_t seed, const std::string& name) {
  uint64_t hash = 1469598103934665603ull ^ seed;  // FNV-1a
  for (unsigned char c : name) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

float element_as_float(DType dtype, const std::byte* at) {
  const auto read = [at]<typename T>(T value) {
    std::memcpy(&value, at, sizeof(T));
    return value;
  };
  switch (dtype) {
    case DType::f32:
      return read(float{});
    case DType::f64:
      return float(read(double{}));
    case DType::bf16:
      return bf16_to_f32(read(uint16_t{}));
    case DType::f16:
      return f16_to_f32(read(uint16_t{}));
    default:
      throw CheckpointError("weights of dtype " + std::string(dtype_name(dtype)) +
                            " are not supported (f32, f16, bf16, f64, q8_0, q4_1 are)");
  }
}

void to_floats(DType dtype, const std::byte* data, int64_t elements, float* out) {
  if (is_block_dtype(dtype)) return dequantize_blocks(dtype, data, elements, out);
  const int64_t size = dtype_block_bytes(dtype);
  for (int64_t i = 0; i < elements; ++i) out[i] = element_as_float(dtype, data + i * size);
}

// [rows, columns] -> [columns, rows], elements of `size` bytes.
std::vector<std::byte> transpose(const std::byte* data, int64_t rows, int64_t columns, int64_t size) {
  std::vector<std::byte> result(size_t(rows * columns * size));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(&result[size_t((c * rows + r) * size)], data + (r * columns + c) * size, size_t(size));
  return result;
}

}  // namespace

WeightLoader::WeightLoader(const TensorSource* source, Device device, const Stream& stream, uint64_t seed)
    : source_(source), device_(device), stream_(stream), seed_(seed) {}

void WeightLoader::read(const TensorInfo& tensor, Range rows, Range columns, std::byte* destination) {
  source_->read(tensor, rows.begin, rows.end, columns.begin, columns.end, destination);
  bytes_read_ += dtype_bytes(tensor.dtype, rows.size() * columns.size());
  rank_progress().tick("load weights");
}

// Fused parts share one storage: the checkpoint's dtype where all agree, else float32.
DType WeightLoader::common_dtype(const std::vector<WeightPart>& parts) const {
  const DType first = source_->require(parts.front().name).dtype;
  for (const WeightPart& part : parts)
    if (source_->require(part.name).dtype != first) return DType::f32;
  return first;
}

LinearWeight WeightLoader::random_linear(const std::string& name, int64_t out, int64_t in, int granule,
                                         int64_t row_offset, int64_t column_offset) {
  LinearWeight weight = make_linear_weight(device_, DType::bf16, out, in, granule);
  // Variance 1 / in_features keeps activations near one through any depth.
  fill_linear_random(weight, name_seed(seed_, name), std::sqrt(3.0f / float(std::max<int64_t>(in, 1))), row_offset,
                     column_offset, stream_);
  weight_bytes_ += weight.data.view().bytes();
  rank_progress().tick("make dummy weights");
  return weight;
}

void WeightLoader::load_part(LinearWeight& weight, int64_t at, const WeightPart& part, Range columns,
                             int64_t total_columns, DType dtype) {
  const std::vector<int64_t> shape{part.transposed ? total_columns : part.total_rows,
                                   part.transposed ? part.total_rows : total_columns};
  const TensorInfo& tensor = source_->require(part.name, shape);
  // Whole quantization blocks are read; what lies outside the cut is dropped after dequantizing.
  const int64_t block = dtype_block_elements(tensor.dtype);
  const Range wide{columns.begin / block * block, (columns.end + block - 1) / block * block};
  const int64_t row_bytes = std::max<int64_t>(dtype_bytes(tensor.dtype, wide.size()), 1);
  const int64_t chunk_rows = part.transposed ? part.rows.size() : std::max<int64_t>(1, kChunkBytes / row_bytes);
  std::vector<float> floats;
  for (int64_t begin = part.rows.begin; begin < part.rows.end; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, part.rows.end - begin);
    staging_.resize(size_t(count * row_bytes));
    if (part.transposed) {
      read(tensor, columns, {begin, begin + count}, staging_.data());
      staging_ = transpose(staging_.data(), columns.size(), count, dtype_block_bytes(tensor.dtype));
    } else {
      read(tensor, {begin, begin + count}, wide, staging_.data());
    }
    const void* rows = staging_.data();
    if (dtype != tensor.dtype) {
      floats.resize(size_t(count * wide.size()));
      to_floats(tensor.dtype, staging_.data(), count * wide.size(), floats.data());
      for (int64_t r = 0; r < count && wide != columns; ++r)
        std::memmove(&floats[size_t(r * columns.size())], &floats[size_t(r * wide.size() + columns.begin - wide.begin)],
                     size_t(columns.size()) * sizeof(float));
      rows = floats.data();
    }
    load_linear_rows(weight, at + begin - part.rows.begin, count, rows, dtype, stream_);
  }
}

LinearWeight WeightLoader::load_columns(const std::vector<WeightPart>& parts, int64_t in_features, int granule) {
  int64_t out = 0;
  for (const WeightPart& part : parts) out += part.rows.size();
  if (!source_) return random_linear(parts.front().name, out, in_features, granule, parts.front().rows.begin, 0);
  const DType dtype = common_dtype(parts);
  LinearWeight weight = make_linear_weight(device_, dtype, out, in_features, granule);
  int64_t at = 0;
  for (const WeightPart& part : parts) {
    load_part(weight, at, part, {0, in_features}, in_features, dtype);
    at += part.rows.size();
  }
  weight_bytes_ += weight.data.view().bytes();
  return weight;
}

LinearWeight WeightLoader::load_rows(const std::string& name, int64_t out_features, Range columns,
                                     int64_t total_columns, int granule, bool transposed) {
  if (!source_) return random_linear(name, out_features, columns.size(), granule, 0, columns.begin);
  DType dtype = source_->require(name).dtype;
  // A cut inside a quantization block cannot stay packed.
  if (is_block_dtype(dtype) && (columns.begin % 32 || columns.end % 32)) dtype = DType::f32;
  LinearWeight weight = make_linear_weight(device_, dtype, out_features, columns.size(), granule);
  load_part(weight, 0, {name, {0, out_features}, out_features, transposed}, columns, total_columns, dtype);
  weight_bytes_ += weight.data.view().bytes();
  return weight;
}

std::vector<float> WeightLoader::read_floats(const TensorInfo& tensor, Range rows, int64_t columns) {
  staging_.resize(size_t(dtype_bytes(tensor.dtype, rows.size() * columns)));
  read(tensor, rows, {0, columns}, staging_.data());
  std::vector<float> values(size_t(rows.size() * columns));
  to_floats(tensor.dtype, staging_.data(), int64_t(values.size()), values.data());
  return values;
}

Tensor WeightLoader::upload(const std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims) {
  Tensor tensor(dtype, dims, device_);
  std::vector<uint16_t> narrow;
  const void* source = values.data();
  if (dtype == DType::bf16) {
    for (float value : values) narrow.push_back(f32_to_bf16(value));
    source = narrow.data();
  }
  copy_async(tensor.data(), source, size_t(tensor.view().bytes()), device_, stream_);
  stream_.synchronize();
  weight_bytes_ += tensor.view().bytes();
  return tensor;
}

Tensor WeightLoader::load_vector(const std::vector<WeightPart>& parts, DType dtype, float offset) {
  std::vector<float> values;
  for (const WeightPart& part : parts) {
    if (!source_) {
      const bool norm = part.name.find("norm") != std::string::npos || part.name.find("ln_") != std::string::npos;
      values.insert(values.end(), size_t(part.rows.size()), norm && part.name.ends_with("weight") ? 1.0f : 0.0f);
      continue;
    }
    const TensorInfo& tensor = source_->require(part.name, {part.total_rows});
    std::vector<float> piece = read_floats(tensor, part.rows, 1);
    for (float& value : piece) value += offset;
    values.insert(values.end(), piece.begin(), piece.end());
  }
  return upload(values, dtype, {int64_t(values.size())});
}

Tensor WeightLoader::load_matrix(const std::string& name, int64_t rows, int64_t columns) {
  if (!source_)
    return upload(std::vector<float>(size_t(rows * columns), 0.0f), activation_dtype(device_), {rows, columns});
  const TensorInfo& tensor = source_->require(name, {rows, columns});
  return upload(read_floats(tensor, {0, rows}, columns), activation_dtype(device_), {rows, columns});
}

}  // namespace trireme
