#include <array>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/file_tensor_source.h"
#include "checkpoint/gguf.h"

namespace trireme {
namespace {

struct NamePair {
  std::string_view gguf, hugging_face;
};
constexpr std::array<NamePair, 3> kModelNames = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};
constexpr std::array<NamePair, 9> kLayerNames = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

template <size_t N>
std::optional<std::string> look_up(const std::array<NamePair, N>& table, std::string_view stem) {
  for (const NamePair& row : table) {
    if (row.gguf == stem) return std::string(row.hugging_face);
  }
  return std::nullopt;
}

// "blk.7.attn_q.weight" -> {"attn_q", "model.layers.7.self_attn.q_proj.weight"}; empty for a name outside the tables.
struct TranslatedName {
  std::string part;
  std::string hugging_face;
};

std::optional<TranslatedName> translate(std::string_view name, int64_t num_layers) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string suffix(name.substr(dot));
  std::string_view stem = name.substr(0, dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  if (const auto found = look_up(kModelNames, stem)) return TranslatedName{std::string(stem), *found + suffix};
  if (!stem.starts_with("blk.")) return std::nullopt;
  stem.remove_prefix(4);
  const std::string_view number = stem.substr(0, stem.find('.'));
  int64_t layer = -1;
  std::from_chars(number.data(), number.data() + number.size(), layer);
  if (layer < 0 || layer >= num_layers || number != std::to_string(layer) || number.size() == stem.size())
    return std::nullopt;
  stem.remove_prefix(number.size() + 1);
  const auto found = look_up(kLayerNames, stem);
  if (!found) return std::nullopt;
  return TranslatedName{std::string(stem), "model.layers." + std::to_string(layer) + "." + *found + suffix};
}

// Consumed by the config, or by no one: rotary tables that can be computed.
bool is_rotary_table(std::string_view name) {
  return name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight");
}

class GgufSource final : public FileTensorSource {
 public:
  GgufSource(InputFile file, const GgufContents& contents, const ModelConfig& config) : file_(std::move(file)) {
    for (const GgufTensor& tensor : contents.tensors) {
      if (!is_rotary_table(tensor.name)) add_tensor(tensor, config);
    }
  }

 private:
  [[noreturn]] void fail(const GgufTensor& tensor, const std::string& problem) const {
    throw CheckpointError(file_.path() + ": tensor " + quoted(tensor.name) + " " + problem);
  }

  void add_tensor(const GgufTensor& tensor, const ModelConfig& config) {
    const auto name = translate(tensor.name, config.num_layers);
    if (!name)
      fail(tensor,
           "is not part of a llama model of " + std::to_string(config.num_layers) + " layers as it is known here");
    if (!tensor.type->dtype)
      fail(tensor,
           "has type " + std::string(tensor.type->name) +
               ", which is not read; types F32, F16, BF16, Q8_0 and Q4_1 are: take another file of this model, or "
               "convert it with llama-quantize");
    const DType dtype = *tensor.type->dtype;
    if (is_block_dtype(dtype) && tensor.shape.size() != 2) fail(tensor, "is of a block type, but not a matrix");
    const int64_t heads = name->part == "attn_q" ? config.num_heads : name->part == "attn_k" ? config.num_kv_heads : 0;
    if (heads > 0 && (tensor.shape.empty() || tensor.shape[0] != heads * config.head_dim))
      fail(tensor, "has shape " + shape_text(tensor.shape) + ", the metadata says " + std::to_string(heads) +
                       " heads of " + std::to_string(config.head_dim) + ": the file is damaged; fetch it again");
    add({.name = name->hugging_face,
         .dtype = dtype,
         .shape = tensor.shape,
         .file = file_.path(),
         .bytes = tensor.bytes},
        {.file = &file_, .offset = tensor.offset, .permuted_heads = heads});
  }

  InputFile file_;
};

}  // namespace

std::unique_ptr<TensorSource> make_gguf_source(InputFile file, const GgufContents& contents,
                                               const ModelConfig& config) {
  return std::make_unique<GgufSource>(std::move(file), contents, config);
}

}  // namespace trireme
