#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/file_tensor_source.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_names.h"

namespace trireme {
namespace {

// Consumed by the config, or by no one: rotary tables that can be computed.
bool is_rotary_table(std::string_view name) {
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" || name == "rope_factors_short.weight" ||
         name.ends_with(".attn_rot_embd.weight");
}

class GgufSource final : public FileTensorSource {
 public:
  GgufSource(GgufModel model, const ModelConfig& config)
      : files_(std::move(model.files)),
        family_(find_gguf_family(model.metadata.text("general.architecture", ""), model.metadata.path())) {
    for (const GgufTensor& tensor : model.tensors) {
      if (!is_rotary_table(tensor.name)) add_tensor(tensor, config);
    }
  }

 private:
  [[noreturn]] void fail(const GgufTensor& tensor, const std::string& problem) const {
    throw CheckpointError(files_[tensor.file]->path() + ": tensor " + quoted(tensor.name) + " " + problem);
  }

  // Of q and k whose rows are stored as pairs: the number of heads they are in; else 0.
  int64_t permuted_heads(const GgufTensor& tensor, const TranslatedName& name, const ModelConfig& config) const {
    if (!family_.paired_rotary) return 0;
    const int64_t heads = name.part == "attn_q" ? config.num_heads : name.part == "attn_k" ? config.num_kv_heads : 0;
    if (heads > 0 && (tensor.shape.empty() || tensor.shape[0] != heads * config.head_dim))
      fail(tensor, "has shape " + shape_text(tensor.shape) + ", the metadata says " + std::to_string(heads) +
                       " heads of " + std::to_string(config.head_dim) + ": the file is damaged; fetch it again");
    return heads;
  }

  void add_tensor(const GgufTensor& tensor, const ModelConfig& config) {
    const auto name = translate_gguf_name(family_, tensor.name, config.num_layers);
    if (!name)
      fail(tensor, "is not part of a " + std::string(family_.name) + " model of " + std::to_string(config.num_layers) +
                       " layers as it is known here");
    if (!tensor.type->dtype)
      fail(tensor, "has type " + std::string(tensor.type->name) +
                       ", which is not read; types F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K "
                       "are: take another file of this model, or convert it with llama-quantize");
    const DType dtype = *tensor.type->dtype;
    if (is_block_dtype(dtype) && tensor.shape.size() != 2) fail(tensor, "is of a block type, but not a matrix");
    add({.name = name->hugging_face,
         .dtype = dtype,
         .shape = tensor.shape,
         .transposed = family_.transposed && name->in_layer && tensor.shape.size() == 2,
         .file = files_[tensor.file]->path(),
         .bytes = tensor.bytes},
        {.file = files_[tensor.file].get(),
         .offset = tensor.offset,
         .permuted_heads = permuted_heads(tensor, *name, config)});
  }

  std::vector<std::unique_ptr<InputFile>> files_;
  const GgufFamily& family_;
};

}  // namespace

std::unique_ptr<TensorSource> make_gguf_source(GgufModel model, const ModelConfig& config) {
  return std::make_unique<GgufSource>(std::move(model), config);
}

}  // namespace trireme
