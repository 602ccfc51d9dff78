#include "checkpoint/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/rope_scaling.h"

namespace trireme {
namespace {

using namespace config_limits;

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// Transformers 5: "rope_parameters" holds type, theta and figures. Before: "rope_theta" beside "rope_scaling"
// (null, or the figures with "rope_type", once "type").
RopeConfig read_rope(const JsonFields& fields, int64_t head_dim) {
  RopeConfig rope;
  rope.theta = fields.number("rope_theta", rope.theta);
  rope.rotary_dim = head_dim;
  const auto parameters = fields.object("rope_parameters");
  const auto scaling = parameters ? parameters : fields.object("rope_scaling");
  double rotary_share = fields.number("partial_rotary_factor", 1);
  if (scaling) {
    rope.type = scaling->text("rope_type", scaling->text("type", rope.type));
    rope.theta = scaling->number("rope_theta", rope.theta);
    rotary_share = scaling->number("partial_rotary_factor", rotary_share);
  }
  if (rotary_share != 1) fields.fail("partial_rotary_factor", "other than 1 is not supported");
  if (scaling && rope.type == "llama3") {
    rope.factor = scaling->number("factor");
    rope.low_freq_factor = scaling->number("low_freq_factor");
    rope.high_freq_factor = scaling->number("high_freq_factor");
    rope.original_max_positions = scaling->integer("original_max_position_embeddings", 1, kMaxPositions);
  }
  check_rope(rope, fields.what());
  return rope;
}

ModelConfig read_llama(const JsonFields& fields) {
  ModelConfig config;
  config.hidden_size = fields.integer("hidden_size", 1, kMaxHiddenSize);
  config.intermediate_size = fields.integer("intermediate_size", 1, kMaxHiddenSize);
  config.num_layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  config.num_heads = fields.integer("num_attention_heads", 1, kMaxHeads);
  config.num_kv_heads = fields.integer("num_key_value_heads", 1, kMaxHeads, config.num_heads);
  config.head_dim = fields.integer("head_dim", 1, kMaxHeadDim, config.hidden_size / config.num_heads);
  if (!fields.has("head_dim") && config.hidden_size % config.num_heads != 0)
    fields.fail("num_attention_heads", "must divide hidden_size where head_dim is absent");
  if (config.num_heads % config.num_kv_heads != 0)
    fields.fail("num_key_value_heads", "must divide num_attention_heads");
  if (config.head_dim % 2 != 0)
    fields.fail("head_dim", "must be even for RoPE, got " + std::to_string(config.head_dim));
  config.max_positions = fields.integer("max_position_embeddings", 1, kMaxPositions, 2048);
  config.norm_eps = fields.number("rms_norm_eps", 1e-6);
  config.hidden_act = fields.text("hidden_act", "silu");
  if (config.hidden_act != "silu") fields.fail("hidden_act", "must be silu, got " + quoted(config.hidden_act));
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", false);
  config.attention_bias = fields.flag("attention_bias", false);
  config.output_bias = config.attention_bias;
  config.mlp_bias = fields.flag("mlp_bias", false);
  config.rope = read_rope(fields, config.head_dim);
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
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
  config.intermediate_size = fields.integer("n_inner", 1, kMaxHiddenSize, 4 * config.hidden_size);
  config.max_positions = fields.integer("n_positions", 1, kMaxPositions, 1024);
  config.norm_eps = fields.number("layer_norm_epsilon", 1e-5);
  config.hidden_act = fields.text("activation_function", "gelu_new");
  if (config.hidden_act != "gelu_new")
    fields.fail("activation_function", "must be gelu_new, got " + quoted(config.hidden_act));
  if (!fields.flag("scale_attn_weights", true)) fields.fail("scale_attn_weights", "false is not supported");
  if (fields.flag("scale_attn_by_inverse_layer_idx", false))
    fields.fail("scale_attn_by_inverse_layer_idx", "true is not supported");
  if (fields.flag("add_cross_attention", false)) fields.fail("add_cross_attention", "true is not supported");
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", true);
  config.attention_bias = true;
  config.mlp_bias = true;
  config.bos_token_id = 50256;
  config.eos_token_ids = {50256};
  return config;
}

struct ArchitectureRow {
  const char* name;        // config.json "architectures"
  const char* model_type;  // stands in where "architectures" is absent
  ModelConfig (*read)(const JsonFields&);
};
constexpr std::array<ArchitectureRow, 2> kArchitectures = {{
    {"LlamaForCausalLM", "llama", read_llama},
    {"GPT2LMHeadModel", "gpt2", read_gpt2},
}};

std::string declared_architecture(const JsonFields& fields) {
  const json::value* value = fields.find("architectures");
  if (!value) return "";
  const json::array* list = value->if_array();
  if (!list || list->empty() || !list->front().is_string()) fields.fail("architectures", "must be a list of names");
  return std::string(list->front().get_string());
}

const ArchitectureRow& find_architecture(const JsonFields& fields) {
  const std::string name = declared_architecture(fields);
  const std::string model_type = fields.text("model_type", "");
  std::string supported;
  for (const ArchitectureRow& row : kArchitectures) {
    if (name.empty() ? model_type == row.model_type : name == row.name) return row;
    supported += std::string(supported.empty() ? "" : ", ") + row.name;
  }
  throw CheckpointError(fields.what() + ": architecture " + quoted(name.empty() ? model_type : name) +
                        " is not supported; supported: " + supported);
}

// Absent means float32, as transformers has it.
DType read_dtype(const JsonFields& fields) {
  const std::string name = fields.text("dtype", fields.text("torch_dtype", "float32"));
  if (name == "float32" || name == "torch.float32") return DType::f32;
  if (name == "float16" || name == "torch.float16") return DType::f16;
  if (name == "bfloat16" || name == "torch.bfloat16") return DType::bf16;
  fields.fail(fields.has("dtype") ? "dtype" : "torch_dtype",
              "must be float32, float16 or bfloat16, got " + quoted(name));
}

void add_eos_ids(const JsonFields& fields, ModelConfig& config) {
  for (const int64_t id : fields.integers("eos_token_id", -1, config.vocab_size - 1)) {
    if (id >= 0 &&
        std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), id) == config.eos_token_ids.end())
      config.eos_token_ids.push_back(id);
  }
}

// The key with null says "none"; only its absence leaves the family's default, if the vocabulary has such an id.
void read_token_ids(const JsonFields& fields, const json::object& root, ModelConfig& config) {
  const std::vector<int64_t> bos = fields.integers("bos_token_id", -1, config.vocab_size - 1);
  if (root.contains("bos_token_id")) config.bos_token_id = bos.empty() ? -1 : bos.front();
  if (config.bos_token_id >= config.vocab_size) config.bos_token_id = -1;
  if (root.contains("eos_token_id")) config.eos_token_ids.clear();
  std::erase_if(config.eos_token_ids, [&](int64_t id) { return id >= config.vocab_size; });
  add_eos_ids(fields, config);
}

}  // namespace

ModelConfig parse_model_config(std::string_view config_json, std::string_view what) {
  const json::value document = parse_json(config_json, what);
  const JsonFields fields(document, std::string(what));
  const ArchitectureRow& row = find_architecture(fields);
  if (fields.has("quantization_config"))
    fields.fail("quantization_config", "is not supported: use the model's unquantized checkpoint or a GGUF file");
  ModelConfig config = row.read(fields);
  config.architecture = row.name;
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabSize);
  if (!(config.norm_eps >= 0)) throw CheckpointError(std::string(what) + ": the norm's epsilon is negative");
  config.dtype = read_dtype(fields);
  read_token_ids(fields, document.get_object(), config);
  return config;
}

GenerationDefaults parse_generation_config(std::string_view text, std::string_view what, ModelConfig& config) {
  const json::value document = parse_json(text, what);
  const JsonFields fields(document, std::string(what));
  GenerationDefaults defaults;
  defaults.temperature = fields.maybe_number("temperature");
  defaults.top_p = fields.maybe_number("top_p");
  defaults.repetition_penalty = fields.maybe_number("repetition_penalty");
  defaults.min_p = fields.maybe_number("min_p");
  defaults.top_k = fields.maybe_integer("top_k", -1, kNoLimit);
  defaults.max_new_tokens = fields.maybe_integer("max_new_tokens", 1, kNoLimit);
  defaults.max_length = fields.maybe_integer("max_length", 1, kNoLimit);
  defaults.do_sample = fields.maybe_flag("do_sample");
  add_eos_ids(fields, config);
  return defaults;
}

}  // namespace trireme
