#pragma once
// A model as its user has it: a Hugging Face directory, a GGUF file, or org/name in the local Hugging Face
// cache. Opening reads headers and small files only; weights are read through the source, slice by slice.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace trireme {

// What the tokenizer and the chat template are made from (text/ turns it into objects).
struct TokenizerMaterial {
  std::string tokenizer_json;         // the file's text; empty for GGUF
  std::string tokenizer_config_json;  // the file's text or empty
  std::string chat_template;          // chat_template.jinja, else tokenizer_config's, else GGUF's; may be empty
  std::map<std::string, std::string> named_templates;  // further ones by name ("tool_use"), of either format
  // GGUF (tokenizer.ggml.*):
  std::string gguf_model;  // "gpt2", ...; empty for Hugging Face
  std::string gguf_pre;    // "smollm", "llama-bpe", ...
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;   // "a b"
  std::vector<float> scores;         // by token; empty where the file has none
  int64_t bos_id = -1, eos_id = -1, unknown_id = -1, pad_id = -1;
  // As the file says; what absence means depends on the tokenizer.
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

struct Checkpoint {
  std::string path;    // resolved
  std::string name;    // for people and for /v1/models
  std::string format;  // "safetensors", "gguf", "config" (no weights: --load-format dummy)
  ModelConfig config;
  GenerationDefaults defaults;
  TokenizerMaterial tokenizer;
  std::unique_ptr<TensorSource> source;  // null without weights
};

struct CheckpointOptions {
  bool need_weights = true;  // false: source stays null, and a bare config.json (file or directory) will do
  bool need_tokenizer = true;
};

// Throws CheckpointError; for org/name that is not in the cache the text has the `hf download org/name` line.
Checkpoint open_checkpoint(const std::string& model, const CheckpointOptions& options = {});

}  // namespace trireme
