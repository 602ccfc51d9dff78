#pragma once
// Named tensors of a checkpoint, read in slices. Names, shapes and row order are Hugging Face's, whatever the
// file format (a GGUF source translates names and undoes its q/k permutation). Safe to call from several
// threads; reads are pread, never mmap, so a truncated file is an error and not a SIGBUS.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace trireme {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;    // as stored; block formats only for 2-D tensors
  std::vector<int64_t> shape;  // row-major, Hugging Face's order ([out, in] for linear layers)
  bool transposed = false;     // the transpose of Hugging Face's tensor (GPT-2's Conv1D in GGUF: [out, in])
  std::string file;            // for errors
  int64_t bytes = 0;

  // Seen as a matrix: [shape[0], the rest]; a scalar is [1, 1].
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t columns() const {
    int64_t product = 1;
    for (size_t d = 1; d < shape.size(); ++d) product *= shape[d];
    return product;
  }
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  virtual const TensorInfo* find(const std::string& name) const;  // null when absent
  const TensorInfo& require(const std::string& name) const;       // CheckpointError: "no tensor NAME in FILE ..."
  const TensorInfo& require(const std::string& name, const std::vector<int64_t>& shape) const;  // and of this shape

  // Rows [row_begin, row_end) and columns [column_begin, column_end) of a tensor seen as [shape[0], rest]
  // (a 1-D tensor is [n, 1]), packed row-major in its own dtype into `destination`. For block formats the
  // columns lie on blocks (32 or 256 elements). Throws CheckpointError naming file, tensor and what is wrong.
  virtual void read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                    int64_t column_end, std::byte* destination) const = 0;
};

}  // namespace trireme
