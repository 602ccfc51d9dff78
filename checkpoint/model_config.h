#pragma once
// What a model's shape is, read from config.json (old and Transformers 5 spellings) or GGUF metadata.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace trireme {

struct RopeConfig {
  std::string type = "default";  // default, llama3 (others are refused until they are built)
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1;          // llama3
  double high_freq_factor = 4;         // llama3
  int64_t original_max_positions = 0;  // llama3
  int64_t rotary_dim = 0;              // <= head_dim
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
  int64_t max_positions = 0;
  double norm_eps = 1e-5;  // RMSNorm's or LayerNorm's
  std::string hidden_act;  // silu, gelu_new, ...
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  RopeConfig rope;
  DType dtype = DType::bf16;  // of the weights, as the config says; GGUF: of its embedding, bf16 where that is blocks
  int64_t bos_token_id = -1;
  std::vector<int64_t> eos_token_ids;  // config and generation_config together, no duplicates
};

// generation_config.json: defaults a request may override.
struct GenerationDefaults {
  std::optional<double> temperature, top_p, repetition_penalty, min_p;
  std::optional<int64_t> top_k, max_new_tokens, max_length;
  std::optional<bool> do_sample;
};

// Throws CheckpointError naming `what`, the key and the remedy; unknown architectures list those supported.
ModelConfig parse_model_config(std::string_view config_json, std::string_view what);
GenerationDefaults parse_generation_config(std::string_view text, std::string_view what, ModelConfig& config);

}  // namespace trireme
