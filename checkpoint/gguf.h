#pragma once
// A model in GGUF files, seen as Hugging Face has it: config, tokenizer material, tensors under their Hugging Face
// names with rows in Hugging Face's order. Two things stay as GGUF has them, and say so: GPT-2's matrices are
// transposed (TensorInfo::transposed), Gemma's norm weights hold the one that is added to Hugging Face's
// (ModelConfig::norm_offset is 0).

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"

namespace trireme {

struct GgufModel {
  std::vector<std::unique_ptr<InputFile>> files;  // one, or the parts of a split model in order
  GgufMetadata metadata;                          // the first part's
  std::vector<GgufTensor> tensors;                // of all parts

  const GgufTensor* find(std::string_view name) const;  // null when absent
};

// `path`: the file, or any part of a model split by llama-gguf-split (NAME-00001-of-00003.gguf). Throws CheckpointError
// for parts that are missing, of another model, out of place, or that have a tensor twice.
GgufModel open_gguf_model(const std::string& path);

// From metadata and tensor descriptions; reads the RoPE factors that Llama 3.1 and Phi-3 files store as tensors.
// Throws CheckpointError, for an architecture that is not read with a list of those that are.
ModelConfig gguf_model_config(const GgufModel& model);

TokenizerMaterial gguf_tokenizer(const GgufMetadata& metadata);

// Throws CheckpointError naming the first tensor whose type is not read (IQ4_XS, ...) or whose name is not known.
std::unique_ptr<TensorSource> make_gguf_source(GgufModel model, const ModelConfig& config);

}  // namespace trireme
