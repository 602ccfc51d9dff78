#include "checkpoint/tensor_source.h"

#include "base/error.h"
#include "checkpoint/checked.h"

namespace trireme {

const TensorInfo* TensorSource::find(const std::string& name) const {
  for (const TensorInfo& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

const TensorInfo& TensorSource::require(const std::string& name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  const std::string where = tensors().empty() ? "the checkpoint" : tensors().front().file;
  throw CheckpointError("no tensor " + name + " in " + where + " (" + std::to_string(tensors().size()) +
                        " tensors): the config and the weights are of different models, or the download is not "
                        "complete; fetch both again");
}

const TensorInfo& TensorSource::require(const std::string& name, const std::vector<int64_t>& shape) const {
  const TensorInfo& tensor = require(name);
  if (tensor.shape == shape) return tensor;
  throw CheckpointError("tensor " + name + " in " + tensor.file + " has shape " + shape_text(tensor.shape) +
                        ", the config asks for " + shape_text(shape) +
                        ": the config and the weights are of different models; fetch both again");
}

}  // namespace trireme
