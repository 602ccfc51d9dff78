#pragma once
// A TensorSource over open files: where each named tensor lies, and the lookup by name.

#include <unordered_map>

#include "checkpoint/input_file.h"
#include "checkpoint/slice_reader.h"
#include "checkpoint/tensor_source.h"

namespace trireme {

class FileTensorSource : public TensorSource {
 public:
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* find(const std::string& name) const override;
  void read(const TensorInfo& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
            std::byte* destination) const override;

  // Puts `prefix` before every name that does not start with it or with `except`. For checkpoints saved from the
  // inner model alone, whose names lack its attribute ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight").
  void prefix_names(const std::string& prefix, const std::string& except);

  // Names that begin with `old_prefix` begin with `new_prefix` instead.
  void replace_prefix(const std::string& old_prefix, const std::string& new_prefix);

 protected:
  struct Location {
    const InputFile* file = nullptr;  // owned by the derived class, at a fixed address
    int64_t offset = 0;               // of the tensor's first byte
    int64_t permuted_heads = 0;       // GGUF q and k: rows of that many heads are stored as pairs; 0: in our order
  };
  void add(TensorInfo tensor, const Location& location);  // throws CheckpointError for a second tensor of that name

 private:
  template <typename Rename>
  void rename(const Rename& rename);
  void read_permuted(const Location& location, const TensorInfo& tensor, const TensorSlice& slice,
                     std::byte* destination) const;

  std::vector<TensorInfo> tensors_;
  std::vector<Location> locations_;
  std::unordered_map<std::string, size_t> index_;  // name -> position in both
};

}  // namespace trireme
