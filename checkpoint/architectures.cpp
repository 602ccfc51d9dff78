#include "checkpoint/architectures.h"

#include <algorithm>
#include <cmath>

#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/rope_scaling.h"

namespace trireme {
namespace {

using namespace config_limits;

// What a decoder family has where its config does not say, as transformers' config classes fill it in. Zero: the key
// is required (head_dim: hidden_size / heads; KV heads: as many as heads; vocab_size: required).
struct Defaults {
  int64_t vocab_size = 0;
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t max_positions = 2048;
  double norm_eps = 1e-6;
  bool tied = false;
  int64_t bos = -1;
  std::vector<int64_t> eos = {};
};

int64_t integer_or(const JsonFields& fields, std::string_view key, int64_t most, int64_t fallback) {
  return fallback > 0 ? fields.integer(key, 1, most, fallback) : fields.integer(key, 1, most);
}

void read_heads(const JsonFields& fields, const Defaults& defaults, ModelConfig& config) {
  config.num_heads = integer_or(fields, "num_attention_heads", kMaxHeads, defaults.num_heads);
  config.num_kv_heads = integer_or(fields, "num_key_value_heads", kMaxHeads,
                                   defaults.num_kv_heads > 0 ? defaults.num_kv_heads : config.num_heads);
  const int64_t derived = defaults.head_dim > 0 ? defaults.head_dim : config.hidden_size / config.num_heads;
  config.head_dim = fields.integer("head_dim", 1, kMaxHeadDim, derived);
  if (!fields.has("head_dim") && defaults.head_dim == 0 && config.hidden_size % config.num_heads != 0)
    fields.fail("num_attention_heads", "must divide hidden_size where head_dim is absent");
  if (config.num_heads % config.num_kv_heads != 0)
    fields.fail("num_key_value_heads", "must divide num_attention_heads");
  if (config.head_dim % 2 != 0)
    fields.fail("head_dim", "must be even for RoPE, got " + std::to_string(config.head_dim));
}

ModelConfig read_decoder(const JsonFields& fields, const Defaults& defaults) {
  ModelConfig config;
  config.hidden_size = fields.integer("hidden_size", 1, kMaxHiddenSize);
  config.intermediate_size = fields.integer("intermediate_size", 1, kMaxHiddenSize);
  config.num_layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  read_heads(fields, defaults, config);
  config.vocab_size = integer_or(fields, "vocab_size", kMaxVocabSize, defaults.vocab_size);
  config.max_positions = fields.integer("max_position_embeddings", 1, kMaxPositions, defaults.max_positions);
  config.norm_eps = fields.number("rms_norm_eps", defaults.norm_eps);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", defaults.tied);
  config.bos_token_id = defaults.bos;
  config.eos_token_ids = defaults.eos;
  return config;
}

void read_activation(const JsonFields& fields, std::string_view key, std::string_view known, const char* ours,
                     ModelConfig& config) {
  const std::string name = fields.text(key, std::string(known));
  if (name != known) fields.fail(key, "must be " + std::string(known) + ", got " + quoted(name));
  config.hidden_act = ours;
}

void read_silu(const JsonFields& fields, ModelConfig& config) {
  read_activation(fields, "hidden_act", "silu", "silu", config);
}

// The length for which scaled RoPE was made: max_position_embeddings of such configs is mostly that of the first
// training (transformers: "don't update max_position_embeddings").
void extend_positions(ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const auto stretched = [&](int64_t length) {
    return int64_t(std::min(double(length) * rope.factor, double(kMaxPositions)));
  };
  if (rope.type == "linear") config.max_positions = stretched(config.max_positions);
  if (rope.type == "yarn")
    config.max_positions = std::max(config.max_positions, stretched(rope.original_max_positions));
  if (rope.type == "dynamic") config.longest_positions = stretched(config.max_positions);
}

void read_usual_rope(const JsonFields& fields, ModelConfig& config, const RopeDefaults& defaults = {}) {
  config.rope = read_rope(fields, config, defaults);
  extend_positions(config);
}

void set_attention_bias(const JsonFields& fields, ModelConfig& config) {
  config.attention_bias = config.output_bias = fields.flag("attention_bias", false);
}

// The window of the layers that have one; 0 where the config says null. `fallback` where it says nothing.
int32_t read_window(const JsonFields& fields, int32_t fallback) {
  if (!fields.mentions("sliding_window")) return fallback;
  return int32_t(std::min<int64_t>(fields.integer("sliding_window", 1, kMaxPositions, 0), INT32_MAX));
}

// layer_types where the config has it, else `windowed(layer)`.
template <typename Windowed>
void set_windows(const JsonFields& fields, int32_t window, const Windowed& windowed, ModelConfig& config) {
  const std::vector<std::string> types = fields.texts("layer_types");
  if (!types.empty() && int64_t(types.size()) != config.num_layers)
    fields.fail("layer_types",
                "names " + std::to_string(types.size()) + " layers of " + std::to_string(config.num_layers));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (!types.empty() && types[size_t(layer)] != "sliding_attention" && types[size_t(layer)] != "full_attention")
      fields.fail("layer_types", "must be full_attention or sliding_attention, got " + quoted(types[size_t(layer)]));
    const bool is_windowed = types.empty() ? windowed(layer) : types[size_t(layer)] == "sliding_attention";
    config.layer_windows.push_back(is_windowed ? window : 0);
  }
}

ModelConfig read_llama(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.bos = 1, .eos = {2}});
  read_silu(fields, config);
  set_attention_bias(fields, config);
  config.mlp_bias = fields.flag("mlp_bias", false);
  read_usual_rope(fields, config);
  return config;
}

ModelConfig read_mistral(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.max_positions = 4096 * 32, .bos = 1, .eos = {2}});
  read_silu(fields, config);
  read_usual_rope(fields, config);
  config.layer_windows.assign(size_t(config.num_layers), read_window(fields, 4096));
  return config;
}

// Mistral whose layers may differ in their window.
ModelConfig read_ministral(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.max_positions = 4096 * 32, .bos = 1, .eos = {2}});
  read_silu(fields, config);
  read_usual_rope(fields, config);
  set_windows(
      fields, read_window(fields, 4096), [](int64_t) { return true; }, config);
  return config;
}

// The window counts only with use_sliding_window, and then only from max_window_layers on.
void read_qwen_windows(const JsonFields& fields, ModelConfig& config) {
  const int32_t window = fields.flag("use_sliding_window", false) ? read_window(fields, 4096) : 0;
  const int64_t first = fields.integer("max_window_layers", 0, kMaxLayers, 28);
  set_windows(
      fields, window, [first](int64_t layer) { return layer >= first; }, config);
}

ModelConfig read_qwen2(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.max_positions = 32768});
  read_silu(fields, config);
  config.attention_bias = true;  // whatever the config says
  read_usual_rope(fields, config);
  read_qwen_windows(fields, config);
  return config;
}

ModelConfig read_qwen3(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.head_dim = 128, .max_positions = 32768});
  read_silu(fields, config);
  set_attention_bias(fields, config);
  read_usual_rope(fields, config);
  read_qwen_windows(fields, config);
  return config;
}

// What Gemma 2 and 3 share.
ModelConfig read_gemma(const JsonFields& fields, int64_t vocab_size, int64_t max_positions) {
  ModelConfig config = read_decoder(fields, {.vocab_size = vocab_size,
                                             .num_heads = 8,
                                             .num_kv_heads = 4,
                                             .head_dim = 256,
                                             .max_positions = max_positions,
                                             .tied = true,
                                             .bos = 2,
                                             .eos = {1}});
  read_activation(fields, "hidden_activation", "gelu_pytorch_tanh", "gelu_tanh", config);
  set_attention_bias(fields, config);
  if (fields.flag("use_bidirectional_attention", false))
    fields.fail("use_bidirectional_attention", "true is not supported: it is for embedding models");
  config.norm_offset = 1;
  config.embedding_scale = std::sqrt(double(config.hidden_size));
  const double scalar = fields.number("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) fields.fail("query_pre_attn_scalar", "must be positive");
  config.attention_scale = 1 / std::sqrt(scalar);
  return config;
}

// A soft cap; absent: `fallback`, null: none.
double read_cap(const JsonFields& fields, std::string_view key, double fallback) {
  if (!fields.mentions(key)) return fallback;
  const double cap = fields.number(key, 0);
  if (fields.has(key) && !(cap > 0)) fields.fail(key, "must be positive or null");
  return cap;
}

ModelConfig read_gemma2(const JsonFields& fields) {
  ModelConfig config = read_gemma(fields, 256000, 8192);
  config.attention_soft_cap = read_cap(fields, "attn_logit_softcapping", 50);
  config.logits_soft_cap = read_cap(fields, "final_logit_softcapping", 30);
  read_usual_rope(fields, config);
  set_windows(
      fields, read_window(fields, 4096), [](int64_t layer) { return layer % 2 == 0; }, config);
  return config;
}

ModelConfig read_gemma3(const JsonFields& fields) {
  ModelConfig config = read_gemma(fields, 262208, 131072);
  if (fields.has("attn_logit_softcapping")) fields.fail("attn_logit_softcapping", "is not supported for Gemma 3");
  config.logits_soft_cap = read_cap(fields, "final_logit_softcapping", 0);
  read_rope_by_layer_type(fields, config);  // its max_position_embeddings is the scaled length already
  const int64_t period = fields.integer("sliding_window_pattern", 1, kMaxLayers, 6);
  set_windows(
      fields, read_window(fields, 4096), [period](int64_t layer) { return (layer + 1) % period != 0; }, config);
  return config;
}

ModelConfig read_phi3(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.max_positions = 4096, .norm_eps = 1e-5, .bos = 1, .eos = {32000}});
  read_silu(fields, config);
  if (fields.flag("attention_bias", false)) fields.fail("attention_bias", "true is not supported for Phi-3");
  read_usual_rope(fields, config, {.old_longrope_names = true});
  config.layer_windows.assign(size_t(config.num_layers), read_window(fields, 0));
  return config;
}

ModelConfig read_olmo2(const JsonFields& fields) {
  ModelConfig config = read_decoder(fields, {.norm_eps = 1e-5, .eos = {50279}});
  read_silu(fields, config);
  set_attention_bias(fields, config);
  read_usual_rope(fields, config);
  return config;
}

ModelConfig read_glm4(const JsonFields& fields) {
  ModelConfig config = read_decoder(
      fields, {.head_dim = 128, .max_positions = 131072, .norm_eps = 1.5625e-7, .eos = {151329, 151336, 151338}});
  read_silu(fields, config);
  config.attention_bias = fields.flag("attention_bias", true);  // of q, k and v only
  read_usual_rope(fields, config, {.rotary_share = 0.5, .interleaved = true});
  return config;
}

ModelConfig read_gpt2(const JsonFields& fields) {
  ModelConfig config;
  config.hidden_size = fields.integer("n_embd", 1, kMaxHiddenSize);
  config.num_layers = fields.integer("n_layer", 1, kMaxLayers);
  config.num_heads = fields.integer("n_head", 1, kMaxHeads);
  config.num_kv_heads = config.num_heads;
  if (config.hidden_size % config.num_heads != 0) fields.fail("n_head", "must divide n_embd");
  config.head_dim = config.hidden_size / config.num_heads;
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabSize);
  config.intermediate_size = fields.integer("n_inner", 1, kMaxHiddenSize, 4 * config.hidden_size);
  config.max_positions = fields.integer("n_positions", 1, kMaxPositions, 1024);
  config.norm_eps = fields.number("layer_norm_epsilon", 1e-5);
  read_activation(fields, "activation_function", "gelu_new", "gelu_new", config);
  if (!fields.flag("scale_attn_weights", true)) fields.fail("scale_attn_weights", "false is not supported");
  if (fields.flag("scale_attn_by_inverse_layer_idx", false))
    fields.fail("scale_attn_by_inverse_layer_idx", "true is not supported");
  if (fields.flag("add_cross_attention", false)) fields.fail("add_cross_attention", "true is not supported");
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", true);
  config.attention_bias = config.output_bias = config.mlp_bias = true;
  config.bos_token_id = 50256;
  config.eos_token_ids = {50256};
  return config;
}

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", "llama", read_llama},
    {"MistralForCausalLM", "mistral", read_mistral},
    {"MinistralForCausalLM", "ministral", read_ministral},
    {"Qwen2ForCausalLM", "qwen2", read_qwen2},
    {"Qwen3ForCausalLM", "qwen3", read_qwen3},
    {"Gemma2ForCausalLM", "gemma2", read_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", read_gemma3},
    {"Gemma3ForConditionalGeneration", "gemma3", read_gemma3, true},
    {"Phi3ForCausalLM", "phi3", read_phi3},
    {"Olmo2ForCausalLM", "olmo2", read_olmo2},
    {"Glm4ForCausalLM", "glm4", read_glm4},
    {"GPT2LMHeadModel", "gpt2", read_gpt2},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

}  // namespace trireme
