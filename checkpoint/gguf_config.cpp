#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/gguf.h"
#include "checkpoint/rope_scaling.h"

namespace trireme {
namespace {

using namespace config_limits;

const GgufTensor* find_tensor(const GgufContents& contents, std::string_view name) {
  for (const GgufTensor& tensor : contents.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

void check_supported(const GgufMetadata& metadata) {
  const std::string architecture = metadata.text("general.architecture", "");
  if (architecture != "llama")
    throw CheckpointError(metadata.path() + " holds a model of architecture " + quoted(architecture) +
                          "; of GGUF files llama is supported: use the model's Hugging Face directory if it has one");
  if (metadata.integer("llama.expert_count", 0, 1 << 16, 0) > 0)
    throw CheckpointError(metadata.path() + " is a mixture of experts, which is not supported in GGUF files");
  if (metadata.integer("split.count", 0, 1 << 16, 0) > 1)
    throw CheckpointError(metadata.path() +
                          " is one part of a split model: join the parts with llama-gguf-split --merge");
}

// Llama 3.1 files do not say llama3 in their metadata: they store the divisors of the frequencies as a tensor. The
// published models differ only in the factor, so it is read off the last divisor and the others are checked.
void recognise_llama3_rope(const InputFile& file, const GgufTensor& divisors, RopeConfig& rope) {
  const int64_t count = rope.rotary_dim / 2;
  std::vector<float> stored(static_cast<size_t>(count));
  const bool readable = divisors.type->dtype == DType::f32 && divisors.bytes == count * int64_t(sizeof(float));
  if (readable)
    file.read(divisors.offset, divisors.bytes, reinterpret_cast<std::byte*>(stored.data()), "rope_freqs.weight");
  RopeConfig candidate = rope;
  candidate.type = "llama3";
  candidate.factor = readable ? double(stored.back()) : 0;
  candidate.low_freq_factor = 1;
  candidate.high_freq_factor = 4;
  candidate.original_max_positions = 8192;
  const std::vector<double> expected = rope_divisors(candidate);
  const auto close = [](float a, double b) { return std::abs(a - b) <= 1e-3 * b; };
  if (!readable || !(candidate.factor >= 1) || !std::equal(stored.begin(), stored.end(), expected.begin(), close))
    throw CheckpointError(file.path() +
                          ": tensor \"rope_freqs.weight\" is not the RoPE scaling of Llama 3.1 to 3.3, the only one "
                          "supported in GGUF files: use the model's Hugging Face directory");
  rope = candidate;
}

RopeConfig read_rope(const InputFile& file, const GgufContents& contents, int64_t head_dim) {
  const GgufMetadata& metadata = contents.metadata;
  RopeConfig rope;
  rope.theta = metadata.number("llama.rope.freq_base", 10000);
  rope.rotary_dim = metadata.integer("llama.rope.dimension_count", 1, kMaxHeadDim, head_dim);
  const std::string scaling = metadata.text("llama.rope.scaling.type", "none");
  if (scaling != "none" && metadata.number("llama.rope.scaling.factor", 1) != 1) rope.type = scaling;
  if (metadata.number("llama.rope.scale_linear", 1) != 1) rope.type = "linear";
  if (rope.rotary_dim != head_dim)
    throw CheckpointError(metadata.path() + ": RoPE over " + std::to_string(rope.rotary_dim) + " of " +
                          std::to_string(head_dim) + " dimensions is not supported");
  if (const GgufTensor* divisors = find_tensor(contents, "rope_freqs.weight"))
    recognise_llama3_rope(file, *divisors, rope);
  check_rope(rope, metadata.path());
  return rope;
}

void read_sizes(const GgufContents& contents, const GgufTensor& embedding, ModelConfig& config) {
  const GgufMetadata& metadata = contents.metadata;
  config.hidden_size = metadata.integer("llama.embedding_length", 1, kMaxHiddenSize);
  config.intermediate_size = metadata.integer("llama.feed_forward_length", 1, kMaxHiddenSize);
  config.num_layers = metadata.integer("llama.block_count", 1, kMaxLayers);
  config.num_heads = metadata.integer("llama.attention.head_count", 1, kMaxHeads);
  config.num_kv_heads = metadata.integer("llama.attention.head_count_kv", 1, kMaxHeads, config.num_heads);
  config.head_dim =
      metadata.integer("llama.attention.key_length", 1, kMaxHeadDim, config.hidden_size / config.num_heads);
  config.max_positions = metadata.integer("llama.context_length", 1, kMaxPositions);
  if (embedding.shape.size() != 2 || embedding.shape[1] != config.hidden_size || embedding.shape[0] < 1 ||
      embedding.shape[0] > kMaxVocabSize)
    throw CheckpointError(metadata.path() + ": tensor \"token_embd.weight\" has shape " + shape_text(embedding.shape) +
                          ", the metadata says hidden size " + std::to_string(config.hidden_size) +
                          ": the file is damaged; fetch it again");
  config.vocab_size = embedding.shape[0];
  if (config.num_heads % config.num_kv_heads != 0 || config.head_dim < 2 || config.head_dim % 2 != 0 ||
      metadata.integer("llama.attention.value_length", 1, kMaxHeadDim, config.head_dim) != config.head_dim)
    throw CheckpointError(metadata.path() + ": " + std::to_string(config.num_heads) + " heads, " +
                          std::to_string(config.num_kv_heads) + " KV heads and head size " +
                          std::to_string(config.head_dim) + " do not go together: the file is damaged; fetch it again");
}

void read_token_ids(const GgufMetadata& metadata, ModelConfig& config) {
  const auto id = [&](const char* name) {
    return metadata.integer(std::string("tokenizer.ggml.") + name, 0, std::max<int64_t>(kMaxVocabSize, 0xffffffff), -1);
  };
  const auto known = [&](int64_t token) { return token >= 0 && token < config.vocab_size; };
  if (const int64_t bos = id("bos_token_id"); known(bos)) config.bos_token_id = bos;
  for (const char* name : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const int64_t token = id(name);
    const bool is_new =
        std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), token) == config.eos_token_ids.end();
    if (known(token) && is_new) config.eos_token_ids.push_back(token);
  }
}

}  // namespace

ModelConfig gguf_model_config(const InputFile& file, const GgufContents& contents) {
  const GgufMetadata& metadata = contents.metadata;
  check_supported(metadata);
  const GgufTensor* embedding = find_tensor(contents, "token_embd.weight");
  if (!embedding)
    throw CheckpointError(metadata.path() +
                          ": no tensor \"token_embd.weight\"; the file is damaged or holds no whole model: "
                          "fetch it again");
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.hidden_act = "silu";
  read_sizes(contents, *embedding, config);
  config.norm_eps = metadata.number("llama.attention.layer_norm_rms_epsilon", 1e-5);
  config.tie_word_embeddings = find_tensor(contents, "output.weight") == nullptr;
  config.attention_bias = find_tensor(contents, "blk.0.attn_q.bias") != nullptr;
  config.output_bias = find_tensor(contents, "blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = find_tensor(contents, "blk.0.ffn_gate.bias") != nullptr;
  config.rope = read_rope(file, contents, config.head_dim);
  const DType stored = embedding->type->dtype.value_or(DType::bf16);
  config.dtype = stored == DType::f32 || stored == DType::f16 ? stored : DType::bf16;
  read_token_ids(metadata, config);
  return config;
}

TokenizerMaterial gguf_tokenizer(const GgufMetadata& metadata) {
  TokenizerMaterial material;
  const std::string prefix = "tokenizer.ggml.";
  material.gguf_model = metadata.text(prefix + "model", "");
  material.gguf_pre = metadata.text(prefix + "pre", "");
  material.tokens = metadata.texts(prefix + "tokens");
  material.merges = metadata.texts(prefix + "merges");
  const std::vector<int64_t> types = metadata.integers(prefix + "token_type");
  if (!types.empty() && types.size() != material.tokens.size())
    throw CheckpointError(metadata.path() + ": " + std::to_string(types.size()) + " token types for " +
                          std::to_string(material.tokens.size()) + " tokens: the file is damaged; fetch it again");
  for (const int64_t type : types) material.token_types.push_back(type >= 1 && type <= 6 ? int32_t(type) : 1);
  const auto count = int64_t(material.tokens.size());
  const auto id = [&](const char* name) {
    const int64_t value = metadata.integer(prefix + name, -1, 0xffffffff, -1);
    return value < count ? value : -1;  // 0xffffffff is written for "none"
  };
  material.bos_id = id("bos_token_id");
  material.eos_id = id("eos_token_id");
  material.unknown_id = id("unknown_token_id");
  material.pad_id = id("padding_token_id");
  // What the absence of a flag means depends on the tokenizer, as in llama.cpp.
  const bool sentencepiece = material.gguf_model == "llama";
  const bool llama3 =
      material.gguf_pre == "llama-bpe" || material.gguf_pre == "llama3" || material.gguf_pre == "llama-v3";
  material.add_bos = metadata.flag(prefix + "add_bos_token", sentencepiece || llama3);
  material.add_space_prefix = metadata.flag(prefix + "add_space_prefix", sentencepiece);
  material.chat_template = metadata.text("tokenizer.chat_template", "");
  return material;
}

}  // namespace trireme
