#include "checkpoint/file_tensor_source.h"

#include <cstring>

#include "base/error.h"
#include "checkpoint/checked.h"

namespace trireme {

void FileTensorSource::add(TensorInfo tensor, const Location& location) {
  const auto [at, inserted] = index_.emplace(tensor.name, tensors_.size());
  if (!inserted)
    throw CheckpointError("tensor " + quoted(tensor.name) + " is in " + tensors_[at->second].file + " and again in " +
                          tensor.file + ": the files are of different downloads; fetch them again");
  tensors_.push_back(std::move(tensor));
  locations_.push_back(location);
}

const TensorInfo* FileTensorSource::find(const std::string& name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &tensors_[at->second];
}

template <typename Rename>
void FileTensorSource::rename(const Rename& rename) {
  index_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const std::string old_name = tensors_[i].name;
    tensors_[i].name = rename(old_name);
    const auto [at, inserted] = index_.emplace(tensors_[i].name, i);
    if (!inserted)
      throw CheckpointError("tensor " + quoted(old_name) + " in " + tensors_[i].file +
                            " is there twice, with and without the name of an inner model (" +
                            quoted(tensors_[i].name) + "): the checkpoint is damaged; fetch it again");
  }
}

void FileTensorSource::prefix_names(const std::string& prefix, const std::string& except) {
  rename([&](const std::string& name) {
    return name.starts_with(prefix) || name.starts_with(except) ? name : prefix + name;
  });
}

void FileTensorSource::replace_prefix(const std::string& old_prefix, const std::string& new_prefix) {
  rename([&](const std::string& name) {
    return name.starts_with(old_prefix) ? new_prefix + name.substr(old_prefix.size()) : name;
  });
}

void FileTensorSource::read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                            int64_t column_end, std::byte* destination) const {
  const TensorInfo& stored = require(tensor.name);
  const Location& location = locations_[size_t(&stored - tensors_.data())];
  const TensorSlice slice{row_begin, row_end, column_begin, column_end};
  check_slice(stored, slice);
  if (location.permuted_heads > 0) return read_permuted(location, stored, slice, destination);
  read_slice(*location.file, location.offset, stored, slice, destination);
}

// Stored row h * D + 2 * i + half is row h * D + half * (D / 2) + i here (D rows per head, half 0 or 1): one
// head is read at a time and its rows dealt out.
void FileTensorSource::read_permuted(const Location& location, const TensorInfo& tensor, const TensorSlice& slice,
                                     std::byte* destination) const {
  const int64_t head_rows = tensor.rows() / location.permuted_heads;
  const int64_t width = slice_row_bytes(tensor, slice);
  if (slice.rows() == 0 || width == 0) return;
  std::vector<std::byte> head(size_t(head_rows * width));
  for (int64_t first = slice.row_begin / head_rows * head_rows; first < slice.row_end; first += head_rows) {
    read_slice(*location.file, location.offset, tensor,
               {first, first + head_rows, slice.column_begin, slice.column_end}, head.data());
    for (int64_t r = std::max(first, slice.row_begin); r < std::min(first + head_rows, slice.row_end); ++r) {
      const int64_t in_head = r - first;
      const int64_t half = in_head / (head_rows / 2);
      const int64_t stored = 2 * (in_head % (head_rows / 2)) + half;
      std::memcpy(destination + (r - slice.row_begin) * width, head.data() + stored * width, size_t(width));
    }
  }
}

}  // namespace trireme
