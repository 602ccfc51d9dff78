#pragma once
// A model in one GGUF file, seen as Hugging Face has it: config, tokenizer material, tensors under their Hugging
// Face names with rows in Hugging Face's order.

#include <memory>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"

namespace trireme {

// From metadata and tensor descriptions; `file` serves to read the RoPE factors that Llama 3.1 files store as a
// tensor. Throws CheckpointError, for an architecture that is not read with a list of those that are.
ModelConfig gguf_model_config(const InputFile& file, const GgufContents& contents);

TokenizerMaterial gguf_tokenizer(const GgufMetadata& metadata);

// Throws CheckpointError naming the first tensor whose type is not read (Q4_K, ...) or whose name is not known.
std::unique_ptr<TensorSource> make_gguf_source(InputFile file, const GgufContents& contents, const ModelConfig& config);

}  // namespace trireme
