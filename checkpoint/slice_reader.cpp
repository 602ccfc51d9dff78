#include "checkpoint/slice_reader.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace trireme {
namespace {

// Where this much lies between two row slices, skipping it saves more than another read costs.
constexpr int64_t kSkippedBytes = int64_t(16) << 10;
// Files mostly lie in the order of their use: while the end of a tensor is read, the next one may come in.
constexpr int64_t kReadAheadBytes = int64_t(16) << 20;
constexpr int64_t kBufferBytes = int64_t(1) << 20;

std::string range_text(int64_t begin, int64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

}  // namespace

void check_slice(const TensorInfo& tensor, const TensorSlice& slice) {
  const auto inside = [](int64_t begin, int64_t end, int64_t size) {
    return 0 <= begin && begin <= end && end <= size;
  };
  const std::string where = "tensor " + tensor.name + " in " + tensor.file;
  if (!inside(slice.row_begin, slice.row_end, tensor.rows()) ||
      !inside(slice.column_begin, slice.column_end, tensor.columns()))
    throw CheckpointError(where + " is " + std::to_string(tensor.rows()) + " x " + std::to_string(tensor.columns()) +
                          "; rows " + range_text(slice.row_begin, slice.row_end) + ", columns " +
                          range_text(slice.column_begin, slice.column_end) +
                          " are outside it: the config and the weights are of different models");
  const int64_t block = dtype_block_elements(tensor.dtype);
  if (slice.column_begin % block != 0 || slice.column_end % block != 0)
    throw CheckpointError(where + " is " + std::string(dtype_name(tensor.dtype)) + ": columns " +
                          range_text(slice.column_begin, slice.column_end) + " do not lie on blocks of " +
                          std::to_string(block));
}

int64_t slice_row_bytes(const TensorInfo& tensor, const TensorSlice& slice) {
  return dtype_bytes(tensor.dtype, slice.column_end - slice.column_begin);
}

void read_slice(const InputFile& file, int64_t offset, const TensorInfo& tensor, const TensorSlice& slice,
                std::byte* destination) {
  const int64_t row_bytes = dtype_bytes(tensor.dtype, tensor.columns());
  const int64_t width = slice_row_bytes(tensor, slice);
  const int64_t skipped = dtype_bytes(tensor.dtype, slice.column_begin);
  const int64_t rows = slice.rows();
  const std::string what = "tensor " + tensor.name;
  offset += slice.row_begin * row_bytes;
  if (rows == 0 || width == 0) return;
  if (slice.row_end == tensor.rows()) file.will_need(offset + rows * row_bytes, kReadAheadBytes);
  if (width == row_bytes) return file.read(offset, rows * row_bytes, destination, what);
  if (row_bytes - width >= kSkippedBytes) {
    file.will_need(offset, rows * row_bytes);  // other ranks of this host want the rest
    for (int64_t r = 0; r < rows; ++r)
      file.read(offset + r * row_bytes + skipped, width, destination + r * width, what);
    return;
  }
  const int64_t buffered_rows = std::clamp<int64_t>(kBufferBytes / row_bytes, 1, rows);
  std::vector<std::byte> buffer(size_t(buffered_rows * row_bytes));
  for (int64_t first = 0; first < rows; first += buffered_rows) {
    const int64_t count = std::min(buffered_rows, rows - first);
    file.read(offset + first * row_bytes, count * row_bytes, buffer.data(), what);
    for (int64_t r = 0; r < count; ++r)
      std::memcpy(destination + (first + r) * width, buffer.data() + r * row_bytes + skipped, size_t(width));
  }
}

}  // namespace trireme
