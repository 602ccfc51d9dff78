#include "runtime/models/model.h"

namespace trireme {
namespace {

struct ModelRow {
  std::string_view architecture;
  std::unique_ptr<Model> (*make)(const ModelContext&);
};

constexpr ModelRow kModels[] = {
    {"LlamaForCausalLM", make_llama},
    {"MistralForCausalLM", make_mistral},
    {"MinistralForCausalLM", make_mistral},
    {"Qwen2ForCausalLM", make_qwen2},
    {"Qwen3ForCausalLM", make_qwen3},
    {"Gemma2ForCausalLM", make_gemma2},
    {"Gemma3ForCausalLM", make_gemma3},
    {"Gemma3ForConditionalGeneration", make_gemma3},
    {"Phi3ForCausalLM", make_phi3},
    {"Olmo2ForCausalLM", make_olmo2},
    {"Glm4ForCausalLM", make_glm4},
    {"GPT2LMHeadModel", make_gpt2},
};

// What the attention kernels take.
void check_head_dim(const ModelContext& context) {
  constexpr int64_t kMostDimensions = 256;
  const int64_t head_dim = context.config.head_dim;
  if (head_dim > kMostDimensions)
    throw ConfigError("the model's heads have " + std::to_string(head_dim) + " dimensions; at most " +
                      std::to_string(kMostDimensions) + " are supported");
  if (context.loader.device().is_cuda() && head_dim % 8 != 0)
    throw ConfigError("the model's heads have " + std::to_string(head_dim) +
                      " dimensions; on a GPU a multiple of 8 is supported: use --device cpu");
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelContext& context) {
  CHECK_GT(context.max_model_len, 0);
  check_head_dim(context);
  for (const ModelRow& row : kModels) {
    if (row.architecture != context.config.architecture) continue;
    std::unique_ptr<Model> model = row.make(context);
    context.loader.finish();
    return model;
  }
  std::string known;
  for (const ModelRow& row : kModels) known += (known.empty() ? "" : ", ") + std::string(row.architecture);
  throw ConfigError("architecture " + context.config.architecture + " is not supported; supported: " + known);
}

std::string layer_name(std::string_view prefix, int64_t layer, std::string_view suffix) {
  return std::string(prefix) + "." + std::to_string(layer) + "." + std::string(suffix);
}

}  // namespace trireme
