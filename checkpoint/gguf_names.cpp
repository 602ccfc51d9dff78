#include "checkpoint/gguf_names.h"

#include <charconv>

#include "base/error.h"
#include "checkpoint/checked.h"

namespace trireme {
namespace {

constexpr NamePair kModelNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

// Llama and Qwen 2 have the first nine.
constexpr NamePair kQwen3Names[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
};
constexpr std::span<const NamePair> kLlamaNames = std::span(kQwen3Names).first(9);

// Four norms: Hugging Face's post_attention_layernorm is not the one of the table above.
constexpr NamePair kGemmaNames[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
};

constexpr NamePair kPhi3Names[] = {
    {"attn_norm", "input_layernorm"},         {"attn_qkv", "self_attn.qkv_proj"}, {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"}, {"ffn_up", "mlp.gate_up_proj"},     {"ffn_down", "mlp.down_proj"},
};

constexpr NamePair kGpt2ModelNames[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
};
constexpr NamePair kGpt2Names[] = {
    {"attn_norm", "ln_1"}, {"attn_qkv", "attn.c_attn"}, {"attn_output", "attn.c_proj"},
    {"ffn_norm", "ln_2"},  {"ffn_up", "mlp.c_fc"},      {"ffn_down", "mlp.c_proj"},
};

constexpr GgufFamily kFamilies[] = {
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kLlamaNames,
     .paired_rotary = true},
    {.name = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kLlamaNames},
    {.name = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kQwen3Names},
    {.name = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kGemmaNames},
    {.name = "gemma3",
     .architecture = "Gemma3ForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kGemmaNames},
    {.name = "phi3",
     .architecture = "Phi3ForCausalLM",
     .layer_prefix = "model.layers.",
     .model_names = kModelNames,
     .layer_names = kPhi3Names},
    {.name = "gpt2",
     .architecture = "GPT2LMHeadModel",
     .layer_prefix = "transformer.h.",
     .model_names = kGpt2ModelNames,
     .layer_names = kGpt2Names,
     .transposed = true},
};

std::optional<std::string> look_up(std::span<const NamePair> table, std::string_view stem) {
  for (const NamePair& row : table) {
    if (row.gguf == stem) return std::string(row.hugging_face);
  }
  return std::nullopt;
}

}  // namespace

const GgufFamily& find_gguf_family(std::string_view name, const std::string& path) {
  std::string known;
  for (const GgufFamily& family : kFamilies) {
    if (family.name == name) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  throw CheckpointError(path + " holds a model of architecture " + quoted(name) + "; of GGUF files these are read: " +
                        known + ". Use the model's Hugging Face directory if it has one");
}

std::optional<TranslatedName> translate_gguf_name(const GgufFamily& family, std::string_view name, int64_t num_layers) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string suffix(name.substr(dot));
  std::string_view stem = name.substr(0, dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  if (const auto found = look_up(family.model_names, stem)) return TranslatedName{std::string(stem), *found + suffix};
  if (!stem.starts_with("blk.")) return std::nullopt;
  stem.remove_prefix(4);
  const std::string_view number = stem.substr(0, stem.find('.'));
  int64_t layer = -1;
  std::from_chars(number.data(), number.data() + number.size(), layer);
  if (layer < 0 || layer >= num_layers || number != std::to_string(layer) || number.size() == stem.size())
    return std::nullopt;
  stem.remove_prefix(number.size() + 1);
  const auto found = look_up(family.layer_names, stem);
  if (!found) return std::nullopt;
  return TranslatedName{std::string(stem),
                        std::string(family.layer_prefix) + std::to_string(layer) + "." + *found + suffix, true};
}

}  // namespace trireme
