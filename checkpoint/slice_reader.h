#pragma once
// Reading part of a stored matrix: contiguous spans directly, narrow column slices through a buffer.

#include "checkpoint/input_file.h"
#include "checkpoint/tensor_source.h"

namespace trireme {

struct TensorSlice {
  int64_t row_begin, row_end, column_begin, column_end;
  int64_t rows() const { return row_end - row_begin; }
};

// Throws CheckpointError unless the slice lies inside the tensor and, for block formats, on block borders.
void check_slice(const TensorInfo& tensor, const TensorSlice& slice);

// Bytes of one row of the slice.
int64_t slice_row_bytes(const TensorInfo& tensor, const TensorSlice& slice);

// The tensor's bytes start at `offset` of the file. The slice must have passed check_slice.
void read_slice(const InputFile& file, int64_t offset, const TensorInfo& tensor, const TensorSlice& slice,
                std::byte* destination);

}  // namespace trireme
