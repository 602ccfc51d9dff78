#pragma once
// Makes a rank's weights: from a checkpoint, slice by slice (only this rank's bytes are read), or seeded
// random on the device (--load-format dummy). Names and shapes are Hugging Face's; a missing or mismatching
// tensor, or one of integers, is a CheckpointError naming file, tensor and remedy.
// Every float type and every block format of GGUF loads. The device gets the stored elements where it takes them
// (f32, f16, bf16, f64, f8_e4m3, q8_0, q4_1), else their exact float32 values.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "kernels/linear.h"
#include "parallel/topology.h"
#include "runtime/load_progress.h"
#include "runtime/slice_stream.h"
#include "runtime/upload_queue.h"

namespace trireme {

// Output features [rows] of a linear layer's weight, or of a slice of one.
struct WeightPart {
  std::string name;
  Range rows;               // of the tensor's output features
  int64_t total_rows = 0;   // output features the whole tensor must have
  bool transposed = false;  // stored [in, out] (GPT-2's Conv1D)
};

class WeightLoader {
 public:
  // source null: dummy weights. On the CPU a load is complete when it returns. On a GPU load_columns and load_rows may
  // still be under way then (other threads read, on streams of their own): finish() ends them. A load that throws
  // gives up all those under way first: the weights since the last finish() are then incomplete.
  WeightLoader(const TensorSource* source, Device device, const Stream& stream, uint64_t seed);

  // Waits for all loads, throws what failed, and gives the staging memory back. Before any use of a weight.
  void finish();

  // The parts' rows one under the other: a column-parallel (possibly fused) layer. in_features whole.
  LinearWeight load_columns(const std::vector<WeightPart>& parts, int64_t in_features, int granule = 64);
  // Input features [columns] of every output feature: a row-parallel layer.
  LinearWeight load_rows(const std::string& name, int64_t out_features, Range columns, int64_t total_columns,
                         int granule, bool transposed = false);
  // 1-D pieces one after the other, as f32 (norms) or in the activation dtype (biases); `offset` is added to each.
  Tensor load_vector(const std::vector<WeightPart>& parts, DType dtype, float offset = 0);
  Tensor load_vector(const std::string& name, int64_t size, DType dtype) {
    return load_vector({{name, {0, size}, size}}, dtype);
  }
  // A whole small matrix in the activation dtype (learned positions).
  Tensor load_matrix(const std::string& name, int64_t rows, int64_t columns);

  // Tells the rank's progress from here on, with `logs` also a line about every two seconds.
  void show_progress(int64_t expected_bytes, bool logs) { progress_.emplace(expected_bytes, logs); }

  Device device() const { return device_; }
  bool has(const std::string& name) const { return !source_ || source_->find(name); }
  int64_t bytes_read() const { return bytes_read_; }
  int64_t weight_bytes() const { return weight_bytes_; }  // as kept on the device

 private:
  const TensorInfo& require_float(const std::string& name) const;
  const TensorInfo& require_float(const WeightPart& part, int64_t total_columns) const;
  DType rows_dtype(const std::vector<WeightPart>& parts, Range columns) const;
  void load_part(LinearWeight& weight, int64_t at, const WeightPart& part, Range columns, int64_t total_columns,
                 DType dtype);
  void upload_part(TensorView rows, const TensorInfo& tensor, const WeightPart& part, Range wide, DType dtype,
                   const SliceStream::Conversion& conversion);
  void ending_others(const std::function<void()>& load);
  void count_uploaded();
  void load_transposed(LinearWeight& weight, int64_t at, const TensorInfo& tensor, Range rows, Range columns,
                       DType dtype);
  void count_bytes(int64_t bytes);
  std::vector<float> read_floats(const TensorInfo& tensor, Range rows, int64_t columns);
  Tensor upload(const std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims);
  LinearWeight random_linear(const std::string& name, int64_t out, int64_t in, int granule, int64_t row_offset,
                             int64_t column_offset);

  const TensorSource* source_;
  Device device_;
  const Stream& stream_;
  uint64_t seed_;
  int64_t bytes_read_ = 0;
  int64_t weight_bytes_ = 0;
  std::unique_ptr<SliceStream> slices_;   // null without a source
  std::unique_ptr<UploadQueue> uploads_;  // of a GPU, from a first load to finish()
  int64_t uploaded_bytes_ = 0;            // of those, in bytes_read_
  std::optional<LoadProgress> progress_;
};

}  // namespace trireme
