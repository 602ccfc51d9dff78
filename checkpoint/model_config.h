#pragma once
// What a model's shape is, read from config.json (old and Transformers 5 spellings) or GGUF metadata.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace trireme {

// The frequencies of a rotary embedding are theta^(-2i / rotary_dim), stretched by the rule of `type`: see
// checkpoint/rope_scaling.h.
struct RopeConfig {
  std::string type = "default";  // default, linear, dynamic, llama3, yarn, longrope
  double theta = 10000;
  int64_t rotary_dim = 0;              // even, <= head_dim; further dimensions are not rotated
  bool interleaved = false;            // pairs (2i, 2i + 1), as GLM-4 has them; else (i, i + rotary_dim / 2)
  double factor = 1;                   // linear, dynamic, llama3, yarn
  double low_freq_factor = 1;          // llama3
  double high_freq_factor = 4;         // llama3
  double beta_fast = 32;               // yarn
  double beta_slow = 1;                // yarn
  bool truncate = true;                // yarn: the ramp's ends are whole dimensions
  int64_t original_max_positions = 0;  // llama3, yarn, longrope: what the model was first trained for; dynamic:
                                       // beyond it the frequencies stretch
  double attention_factor = 1;         // yarn, longrope: multiplies cos and sin
  std::vector<double> short_factor;    // longrope: divisors of the rotary_dim / 2 frequencies ...
  std::vector<double> long_factor;     // ... and those for a context beyond original_max_positions
};

struct ModelConfig {
  std::string architecture;  // Hugging Face's name: LlamaForCausalLM, GPT2LMHeadModel
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;      // the context where --max-model-len does not say
  int64_t longest_positions = 0;  // what --max-model-len may ask for; 0: max_positions (rope type dynamic: more)
  double norm_eps = 1e-5;         // RMSNorm's or LayerNorm's
  double norm_offset = 0;         // added to RMSNorm weights: 1 for Gemma's Hugging Face files; GGUF stores the sum
  std::string hidden_act;         // silu, gelu_tanh (Gemma's gelu_pytorch_tanh), gelu_new (GPT-2: the same function)
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // of q, k and v
  bool output_bias = false;     // of the attention output
  bool mlp_bias = false;
  double attention_scale = 0;          // multiplies q.k; 0: 1 / sqrt(head_dim)
  double attention_soft_cap = 0;       // scores <- cap tanh(scores / cap); 0: none
  double logits_soft_cap = 0;          // logits <- cap tanh(logits / cap); 0: none
  double embedding_scale = 1;          // Gemma: sqrt(hidden_size), rounded to the activation dtype where it is applied
  std::vector<int32_t> layer_windows;  // by layer: a token sees that many positions, itself included; 0: all.
                                       // Empty: all layers see all
  RopeConfig rope;
  std::optional<RopeConfig> windowed_rope;  // of the layers with a window, where theirs differs (Gemma 3)
  DType dtype = DType::bf16;  // of the weights, as the config says; GGUF: of its embedding, bf16 where that is blocks
  int64_t bos_token_id = -1;
  std::vector<int64_t> eos_token_ids;  // config and generation_config together, no duplicates

  int32_t window(int64_t layer) const { return layer_windows.empty() ? 0 : layer_windows[size_t(layer)]; }
  int64_t longest_context() const { return longest_positions > 0 ? longest_positions : max_positions; }
};

// generation_config.json: defaults a request may override.
struct GenerationDefaults {
  std::optional<double> temperature, top_p, repetition_penalty, min_p, typical_p;
  std::optional<int64_t> top_k, max_new_tokens, max_length, min_new_tokens, min_length;
  std::optional<bool> do_sample;
};

// Throws CheckpointError naming `what`, the key and the remedy; unknown architectures list those supported.
ModelConfig parse_model_config(std::string_view config_json, std::string_view what);
GenerationDefaults parse_generation_config(std::string_view text, std::string_view what, ModelConfig& config);

}  // namespace trireme
