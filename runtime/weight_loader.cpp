#include "runtime/weight_loader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/backend_traits.h"
#include "base/fault_injection.h"
#include "base/half.h"
#include "base/progress.h"
#include "runtime/quant/block_formats.h"

namespace trireme {
namespace {

constexpr std::chrono::milliseconds kProgressPeriod(50);
constexpr int64_t kPanelRows = 16;  // chunks of so many rows suit the CPU's panels and harm nobody else

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
    case DType::f8_e4m3:
      return f8_e4m3_to_f32(read(uint8_t{}));
    case DType::f8_e5m2:
      return f8_e5m2_to_f32(read(uint8_t{}));
    default:
      CHECK(false) << "no float type" << dtype_name(dtype);
      return 0;
  }
}

void to_floats(DType dtype, const std::byte* data, int64_t elements, float* out) {
  if (is_block_dtype(dtype)) return dequantize_blocks(dtype, data, elements, out);
  const int64_t size = dtype_block_bytes(dtype);
  for (int64_t i = 0; i < elements; ++i) out[i] = element_as_float(dtype, data + i * size);
}

// What load_linear_rows takes a tensor's rows as.
DType handed_dtype(DType stored) {
  const bool as_stored =
      stored == DType::q8_0 || stored == DType::q4_1 || (is_float_dtype(stored) && stored != DType::f8_e5m2);
  return as_stored ? stored : DType::f32;
}

bool on_blocks(DType dtype, Range columns) {
  const int64_t block = dtype_block_elements(dtype);
  return columns.begin % block == 0 && columns.end % block == 0;
}

// The smallest range of whole blocks around `columns`.
Range whole_blocks(DType dtype, Range columns) {
  const int64_t block = dtype_block_elements(dtype);
  return {columns.begin / block * block, (columns.end + block - 1) / block * block};
}

// Rows of the columns `wide` to the float32 values of `columns`, which lie inside them.
SliceStream::Conversion float_conversion(DType stored, Range wide, Range columns) {
  const auto run = [=](int64_t rows, const std::byte* bytes, std::byte* converted) {
    auto* out = reinterpret_cast<float*>(converted);
    if (wide == columns) return to_floats(stored, bytes, rows * wide.size(), out);
    std::vector<float> row(static_cast<size_t>(wide.size()));
    for (int64_t r = 0; r < rows; ++r) {
      to_floats(stored, bytes + dtype_bytes(stored, r * wide.size()), wide.size(), row.data());
      std::copy_n(row.begin() + (columns.begin - wide.begin), columns.size(), out + r * columns.size());
    }
  };
  return {columns.size() * int64_t(sizeof(float)), run};
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
    : source_(source),
      device_(device),
      stream_(stream),
      seed_(seed),
      slices_(source ? std::make_unique<SliceStream>(*source) : nullptr) {}

void WeightLoader::count_bytes(int64_t bytes) {
  bytes_read_ += bytes;
  if (progress_) progress_->add(bytes);
  rank_progress().tick("load weights");
  fault_point(FaultPoint::load);
}

void WeightLoader::count_uploaded() {
  const int64_t bytes = uploads_->bytes_read() - uploaded_bytes_;
  uploaded_bytes_ += bytes;
  if (bytes > 0) count_bytes(bytes);
}

void WeightLoader::finish() {
  if (uploads_) {
    while (!uploads_->wait_for(kProgressPeriod)) count_uploaded();
    count_uploaded();
    uploads_.reset();
    uploaded_bytes_ = 0;
  }
  stream_.synchronize();
}

// What a load throws unwinds the weights that others still write to, so those are ended first.
void WeightLoader::ending_others(const std::function<void()>& load) {
  try {
    load();
  } catch (...) {
    uploads_.reset();
    uploaded_bytes_ = 0;
    throw;
  }
}

const TensorInfo& WeightLoader::require_float(const std::string& name) const {
  const TensorInfo& tensor = source_->require(name);
  if (is_float_dtype(tensor.dtype) || is_block_dtype(tensor.dtype)) return tensor;
  throw CheckpointError("tensor " + name + " in " + tensor.file + " is of dtype " +
                        std::string(dtype_name(tensor.dtype)) +
                        ": integers are weights only together with the scales of a quantization method that is not "
                        "read; use the model's unquantized checkpoint or a GGUF file");
}

const TensorInfo& WeightLoader::require_float(const WeightPart& part, int64_t total_columns) const {
  const TensorInfo& tensor = require_float(part.name);
  if (part.transposed != tensor.transposed) return source_->require(part.name, {total_columns, part.total_rows});
  return source_->require(part.name, {part.total_rows, total_columns});
}

// Fused parts share one storage: that of the first where all agree and it can be cut so, else float32.
DType WeightLoader::rows_dtype(const std::vector<WeightPart>& parts, Range columns) const {
  const DType first = handed_dtype(require_float(parts.front().name).dtype);
  for (const WeightPart& part : parts) {
    const DType stored = require_float(part.name).dtype;
    if (handed_dtype(stored) != first || !on_blocks(stored, columns)) return DType::f32;
  }
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
  fault_point(FaultPoint::load);
  return weight;
}

void WeightLoader::load_part(LinearWeight& weight, int64_t at, const WeightPart& part, Range columns,
                             int64_t total_columns, DType dtype) {
  const TensorInfo& tensor = require_float(part, total_columns);
  if (part.transposed != tensor.transposed) return load_transposed(weight, at, tensor, part.rows, columns, dtype);
  // Whole quantization blocks are read; what lies outside the cut is dropped after dequantizing.
  const Range wide = whole_blocks(tensor.dtype, columns);
  SliceStream::Conversion conversion;
  if (dtype != tensor.dtype) conversion = float_conversion(tensor.dtype, wide, columns);
  if (device_.is_cuda())
    return upload_part(weight.data.view().slice(0, at, at + part.rows.size()), tensor, part, wide, dtype, conversion);
  slices_->read(tensor, part.rows, wide, kPanelRows, conversion, [&](Range rows, const std::byte* bytes) {
    load_linear_rows(weight, at + rows.begin - part.rows.begin, rows.size(), bytes, dtype, stream_);
    count_bytes(dtype_bytes(tensor.dtype, rows.size() * wide.size()));
  });
}

void WeightLoader::upload_part(TensorView rows, const TensorInfo& tensor, const WeightPart& part, Range wide,
                               DType dtype, const SliceStream::Conversion& conversion) {
  if (!uploads_) uploads_ = std::make_unique<UploadQueue>(*source_, device_);
  const auto deliver = [rows, dtype, first = part.rows.begin](Range chunk, const std::byte* bytes, void* scratch,
                                                              const Stream& stream) {
    load_pinned_rows_async(rows.slice(0, chunk.begin - first, chunk.end - first), bytes, dtype, scratch, stream);
  };
  uploads_->add({&tensor, part.rows, wide, conversion, dtype != DType::bf16, deliver});
  count_uploaded();
}

// A tensor of [in, out]: its rows are input features, so the slice is read whole and turned.
void WeightLoader::load_transposed(LinearWeight& weight, int64_t at, const TensorInfo& tensor, Range rows,
                                   Range columns, DType dtype) {
  const Range wide = whole_blocks(tensor.dtype, rows);
  SliceStream::Conversion conversion;
  if (dtype != tensor.dtype || !on_blocks(tensor.dtype, rows)) conversion = float_conversion(tensor.dtype, wide, rows);
  const DType turned = conversion.run ? DType::f32 : tensor.dtype;
  CHECK(!is_block_dtype(turned)) << "rows of blocks cannot be turned:" << tensor.name;
  const int64_t size = dtype_block_bytes(turned);
  std::vector<std::byte> whole(size_t(columns.size() * rows.size() * size));
  slices_->read(tensor, columns, wide, 1, conversion, [&](Range features, const std::byte* bytes) {
    std::memcpy(whole.data() + (features.begin - columns.begin) * rows.size() * size, bytes,
                size_t(features.size() * rows.size() * size));
    count_bytes(dtype_bytes(tensor.dtype, features.size() * wide.size()));
  });
  whole = transpose(whole.data(), columns.size(), rows.size(), size);
  load_linear_rows(weight, at, rows.size(), whole.data(), turned, stream_);
}

LinearWeight WeightLoader::load_columns(const std::vector<WeightPart>& parts, int64_t in_features, int granule) {
  int64_t out = 0;
  for (const WeightPart& part : parts) out += part.rows.size();
  if (!source_) return random_linear(parts.front().name, out, in_features, granule, parts.front().rows.begin, 0);
  LinearWeight weight;
  ending_others([&] {
    const DType dtype = rows_dtype(parts, {0, in_features});
    weight = make_linear_weight(device_, dtype, out, in_features, granule);
    int64_t at = 0;
    for (const WeightPart& part : parts) {
      load_part(weight, at, part, {0, in_features}, in_features, dtype);
      at += part.rows.size();
    }
  });
  weight_bytes_ += weight.data.view().bytes();
  return weight;
}

LinearWeight WeightLoader::load_rows(const std::string& name, int64_t out_features, Range columns,
                                     int64_t total_columns, int granule, bool transposed) {
  if (!source_) return random_linear(name, out_features, columns.size(), granule, 0, columns.begin);
  const WeightPart part{name, {0, out_features}, out_features, transposed};
  LinearWeight weight;
  ending_others([&] {
    const DType dtype = rows_dtype({part}, columns);
    weight = make_linear_weight(device_, dtype, out_features, columns.size(), granule);
    load_part(weight, 0, part, columns, total_columns, dtype);
  });
  weight_bytes_ += weight.data.view().bytes();
  return weight;
}

std::vector<float> WeightLoader::read_floats(const TensorInfo& tensor, Range rows, int64_t columns) {
  std::vector<float> values(size_t(rows.size() * columns));
  const Range wide{0, columns};
  slices_->read(tensor, rows, wide, 1, float_conversion(tensor.dtype, wide, wide),
                [&](Range chunk, const std::byte* bytes) {
                  std::memcpy(&values[size_t((chunk.begin - rows.begin) * columns)], bytes,
                              size_t(chunk.size() * columns) * sizeof(float));
                  count_bytes(dtype_bytes(tensor.dtype, chunk.size() * columns));
                });
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
    ending_others([&] {
      const TensorInfo& tensor = require_float(part.name);
      source_->require(part.name, {part.total_rows});
      for (const float value : read_floats(tensor, part.rows, 1)) values.push_back(value + offset);
    });
  }
  return upload(values, dtype, {int64_t(values.size())});
}

Tensor WeightLoader::load_matrix(const std::string& name, int64_t rows, int64_t columns) {
  if (!source_)
    return upload(std::vector<float>(size_t(rows * columns), 0.0f), activation_dtype(device_), {rows, columns});
  std::vector<float> values;
  ending_others([&] {
    const TensorInfo& tensor = require_float(name);
    source_->require(name, {rows, columns});
    values = read_floats(tensor, {0, rows}, columns);
  });
  return upload(values, activation_dtype(device_), {rows, columns});
}

}  // namespace trireme
