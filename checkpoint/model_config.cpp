#include "checkpoint/model_config.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "checkpoint/architectures.h"
#include "checkpoint/checked.h"

namespace trireme {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

std::string declared_architecture(const JsonFields& fields) {
  const json::value* value = fields.find("architectures");
  if (!value) return "";
  const json::array* list = value->if_array();
  if (!list || list->empty() || !list->front().is_string()) fields.fail("architectures", "must be a list of names");
  return std::string(list->front().get_string());
}

const Architecture& find_architecture(const JsonFields& fields) {
  const std::string name = declared_architecture(fields);
  const std::string model_type = fields.text("model_type", "");
  std::string supported;
  for (const Architecture& row : architectures()) {
    if (name.empty() ? model_type == row.model_type : name == row.name) return row;
    supported += std::string(supported.empty() ? "" : ", ") + row.name;
  }
  throw CheckpointError(fields.what() + ": architecture " + quoted(name.empty() ? model_type : name) +
                        " is not supported; supported: " + supported);
}

// Absent means float32, as transformers has it. Of a nested config the outer word counts first.
DType read_dtype(const JsonFields& fields, const JsonFields& text) {
  const std::string inner = text.text("dtype", text.text("torch_dtype", "float32"));
  const std::string name = fields.text("dtype", fields.text("torch_dtype", inner));
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
void read_token_ids(const JsonFields& fields, ModelConfig& config) {
  const std::vector<int64_t> bos = fields.integers("bos_token_id", -1, config.vocab_size - 1);
  if (fields.mentions("bos_token_id")) config.bos_token_id = bos.empty() ? -1 : bos.front();
  if (config.bos_token_id >= config.vocab_size) config.bos_token_id = -1;
  if (fields.mentions("eos_token_id")) config.eos_token_ids.clear();
  std::erase_if(config.eos_token_ids, [&](int64_t id) { return id >= config.vocab_size; });
  add_eos_ids(fields, config);
}

}  // namespace

ModelConfig parse_model_config(std::string_view config_json, std::string_view what) {
  const json::value document = parse_json(config_json, what);
  const JsonFields fields(document, std::string(what));
  const Architecture& row = find_architecture(fields);
  const auto inner = row.nested ? fields.object("text_config") : std::nullopt;
  if (row.nested && !inner) fields.fail("text_config", "is missing: the language model's figures are there");
  const JsonFields& text = inner ? *inner : fields;
  for (const JsonFields* level : {&fields, &text})
    if (level->has("quantization_config"))
      level->fail("quantization_config", "is not supported: use the model's unquantized checkpoint or a GGUF file");
  ModelConfig config = row.read(text);
  config.architecture = row.name;
  if (!(config.norm_eps >= 0)) throw CheckpointError(std::string(what) + ": the norm's epsilon is negative");
  config.dtype = read_dtype(fields, text);
  if (inner) read_token_ids(*inner, config);
  read_token_ids(fields, config);
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
  defaults.typical_p = fields.maybe_number("typical_p");
  defaults.top_k = fields.maybe_integer("top_k", -1, kNoLimit);
  defaults.max_new_tokens = fields.maybe_integer("max_new_tokens", 1, kNoLimit);
  defaults.max_length = fields.maybe_integer("max_length", 1, kNoLimit);
  defaults.min_new_tokens = fields.maybe_integer("min_new_tokens", 0, kNoLimit);
  defaults.min_length = fields.maybe_integer("min_length", 0, kNoLimit);
  defaults.do_sample = fields.maybe_flag("do_sample");
  add_eos_ids(fields, config);
  return defaults;
}

}  // namespace trireme
