#pragma once
// The model families that are read from GGUF, and what their tensors are called there and by Hugging Face.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trireme {

struct NamePair {
  std::string_view gguf, hugging_face;
};

struct GgufFamily {
  std::string_view name;          // general.architecture, and the prefix of its metadata keys
  const char* architecture;       // Hugging Face's
  std::string_view layer_prefix;  // "model.layers."
  std::span<const NamePair> model_names, layer_names;
  bool paired_rotary = false;  // q and k rows are stored as pairs (2i, 2i + 1)
  bool transposed = false;     // matrices of layers are the transpose of Hugging Face's
};

// Throws CheckpointError naming `path` and the families that are read.
const GgufFamily& find_gguf_family(std::string_view name, const std::string& path);

// "blk.7.attn_q.weight" -> {"attn_q", "model.layers.7.self_attn.q_proj.weight"}; empty for a name outside the tables.
struct TranslatedName {
  std::string part;
  std::string hugging_face;
  bool in_layer = false;
};
std::optional<TranslatedName> translate_gguf_name(const GgufFamily& family, std::string_view name, int64_t num_layers);

}  // namespace trireme
