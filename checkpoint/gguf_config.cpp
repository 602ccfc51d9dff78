#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_rope.h"

namespace trireme {
namespace {

using namespace config_limits;

// What the readers below share.
struct Reader {
  const GgufModel& model;
  const GgufMetadata& metadata;
  std::string family;  // the keys' prefix
  std::string key(const char* name) const { return family + "." + name; }
  bool has_tensor(std::string_view name) const { return model.find(name) != nullptr; }
};

void check_supported(const Reader& reader) {
  if (reader.metadata.integer(reader.key("expert_count"), 0, 1 << 16, 0) > 0)
    throw CheckpointError(reader.metadata.path() + " is a mixture of experts, which is not supported in GGUF files");
}

// A figure that some files give per layer: all layers must agree.
int64_t uniform_integer(const Reader& reader, const char* name, int64_t most, int64_t fallback) {
  const std::string key = reader.key(name);
  if (!reader.metadata.is_array(key))
    return fallback > 0 ? reader.metadata.integer(key, 1, most, fallback) : reader.metadata.integer(key, 1, most);
  const std::vector<int64_t> values = reader.metadata.integers(key);
  const bool uniform = !values.empty() && std::ranges::count(values, values.front()) == int64_t(values.size());
  if (!uniform || values.front() < 1 || values.front() > most)
    throw CheckpointError(reader.metadata.path() + ": metadata key " + quoted(key) +
                          " differs between layers, which is not supported");
  return values.front();
}

void check_sizes(const Reader& reader, const GgufTensor& embedding, const ModelConfig& config) {
  const std::string& path = reader.metadata.path();
  if (embedding.shape.size() != 2 || embedding.shape[1] != config.hidden_size || embedding.shape[0] < 1 ||
      embedding.shape[0] > kMaxVocabSize)
    throw CheckpointError(path + ": tensor \"token_embd.weight\" has shape " + shape_text(embedding.shape) +
                          ", the metadata says hidden size " + std::to_string(config.hidden_size) +
                          ": the file is damaged; fetch it again");
  if (config.num_heads % config.num_kv_heads != 0 || config.head_dim < 2 || config.head_dim % 2 != 0 ||
      reader.metadata.integer(reader.key("attention.value_length"), 1, kMaxHeadDim, config.head_dim) != config.head_dim)
    throw CheckpointError(path + ": " + std::to_string(config.num_heads) + " heads, " +
                          std::to_string(config.num_kv_heads) + " KV heads and head size " +
                          std::to_string(config.head_dim) + " do not go together: the file is damaged; fetch it again");
}

void read_sizes(const Reader& reader, const GgufTensor& embedding, ModelConfig& config) {
  const GgufMetadata& metadata = reader.metadata;
  config.hidden_size = metadata.integer(reader.key("embedding_length"), 1, kMaxHiddenSize);
  config.intermediate_size = uniform_integer(reader, "feed_forward_length", kMaxHiddenSize, 0);
  config.num_layers = metadata.integer(reader.key("block_count"), 1, kMaxLayers);
  config.num_heads = uniform_integer(reader, "attention.head_count", kMaxHeads, 0);
  config.num_kv_heads = uniform_integer(reader, "attention.head_count_kv", kMaxHeads, config.num_heads);
  config.head_dim =
      metadata.integer(reader.key("attention.key_length"), 1, kMaxHeadDim, config.hidden_size / config.num_heads);
  config.max_positions = metadata.integer(reader.key("context_length"), 1, kMaxPositions);
  check_sizes(reader, embedding, config);
  config.vocab_size = embedding.shape[0];
}

void read_token_ids(const GgufMetadata& metadata, ModelConfig& config) {
  const auto id = [&](const char* name) {
    return metadata.integer(std::string("tokenizer.ggml.") + name, -1, 0xffffffff, -1);
  };
  const auto known = [&](int64_t token) { return token >= 0 && token < config.vocab_size; };
  if (const int64_t bos = id("bos_token_id"); known(bos)) config.bos_token_id = bos;
  for (const char* name : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const int64_t token = id(name);
    if (known(token) && std::ranges::count(config.eos_token_ids, token) == 0) config.eos_token_ids.push_back(token);
  }
}

int32_t read_window(const Reader& reader, int64_t fallback) {
  return int32_t(std::min<int64_t>(
      reader.metadata.integer(reader.key("attention.sliding_window"), 0, kMaxPositions, fallback), INT32_MAX));
}

// Every `period`-th layer sees all positions.
void set_windows(int32_t window, int64_t period, ModelConfig& config) {
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    config.layer_windows.push_back((layer + 1) % period == 0 ? 0 : window);
}

// `largest_layers`: the layer count of the family's 27B model, whose queries are scaled by hidden size / heads; the
// metadata does not say.
void read_gemma(const Reader& reader, int64_t largest_layers, ModelConfig& config) {
  config.hidden_act = "gelu_tanh";
  config.norm_offset = 0;  // the converter has added the one
  config.embedding_scale = std::sqrt(double(config.hidden_size));
  const bool largest = config.num_layers == largest_layers;
  const double scalar = double(largest ? config.hidden_size / config.num_heads : config.head_dim);
  config.attention_scale = reader.metadata.number(reader.key("attention.scale"), 1 / std::sqrt(scalar));
}

void read_gemma2(const Reader& reader, ModelConfig& config) {
  read_gemma(reader, 46, config);
  config.attention_soft_cap = reader.metadata.number(reader.key("attn_logit_softcapping"), 50);
  config.logits_soft_cap = reader.metadata.number(reader.key("final_logit_softcapping"), 30);
  config.rope = read_gguf_rope(reader.model, reader.family, config);
  set_windows(read_window(reader, 4096), 2, config);
}

void read_gemma3(const Reader& reader, ModelConfig& config) {
  read_gemma(reader, 62, config);
  config.logits_soft_cap = reader.metadata.number(reader.key("final_logit_softcapping"), 0);
  config.windowed_rope = RopeConfig{};
  config.windowed_rope->theta = reader.metadata.number(reader.key("rope.freq_base_swa"), 10000);
  config.windowed_rope->rotary_dim = config.head_dim;
  config.rope = read_gguf_rope(reader.model, reader.family, config);
  const std::string pattern = reader.key("attention.sliding_window_pattern");
  const int32_t window = read_window(reader, 0);
  if (!reader.metadata.is_array(pattern))
    return set_windows(window, reader.metadata.integer(pattern, 1, kMaxLayers, 6), config);
  const std::vector<int64_t> windowed = reader.metadata.integers(pattern);
  if (int64_t(windowed.size()) != config.num_layers)
    throw CheckpointError(reader.metadata.path() + ": metadata key " + quoted(pattern) + " names " +
                          std::to_string(windowed.size()) + " layers of " + std::to_string(config.num_layers) +
                          ": the file is damaged; fetch it again");
  for (const int64_t is_windowed : windowed) config.layer_windows.push_back(is_windowed ? window : 0);
}

void read_gpt2(ModelConfig& config) {
  config.hidden_act = "gelu_new";
  config.attention_bias = config.output_bias = config.mlp_bias = true;
}

void read_family(const Reader& reader, ModelConfig& config) {
  config.hidden_act = "silu";
  if (reader.family == "gemma2") return read_gemma2(reader, config);
  if (reader.family == "gemma3") return read_gemma3(reader, config);
  if (reader.family == "gpt2") return read_gpt2(config);
  config.rope = read_gguf_rope(reader.model, reader.family, config);
  const int32_t window = reader.family == "phi3" ? read_window(reader, 0) : 0;
  if (window > 0) config.layer_windows.assign(size_t(config.num_layers), window);
}

}  // namespace

ModelConfig gguf_model_config(const GgufModel& model) {
  const GgufMetadata& metadata = model.metadata;
  const GgufFamily& family = find_gguf_family(metadata.text("general.architecture", ""), metadata.path());
  const Reader reader{model, metadata, std::string(family.name)};
  check_supported(reader);
  const GgufTensor* embedding = model.find("token_embd.weight");
  if (!embedding)
    throw CheckpointError(metadata.path() +
                          ": no tensor \"token_embd.weight\"; the file is damaged or holds no whole model: "
                          "fetch it again");
  ModelConfig config;
  config.architecture = family.architecture;
  read_sizes(reader, *embedding, config);
  const char* epsilon = family.name == "gpt2" ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
  config.norm_eps = metadata.number(reader.key(epsilon), 1e-5);
  config.tie_word_embeddings = !reader.has_tensor("output.weight");
  config.attention_bias = reader.has_tensor("blk.0.attn_q.bias") || reader.has_tensor("blk.0.attn_qkv.bias");
  config.output_bias = reader.has_tensor("blk.0.attn_output.bias");
  config.mlp_bias = reader.has_tensor("blk.0.ffn_up.bias");
  read_family(reader, config);
  const DType stored = embedding->type->dtype.value_or(DType::bf16);
  config.dtype = stored == DType::f32 || stored == DType::f16 ? stored : DType::bf16;
  read_token_ids(metadata, config);
  return config;
}

}  // namespace trireme
