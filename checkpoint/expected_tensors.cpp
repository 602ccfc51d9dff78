#include "checkpoint/expected_tensors.h"

#include <charconv>
#include <span>

namespace trireme {
namespace {

// Parts of a layer that have a weight, and which bias of the config they may have.
enum class Bias { none, attention, output, mlp };
struct Part {
  const char* name;
  Bias bias = Bias::none;
};

constexpr Part kAttention[] = {{"self_attn.q_proj", Bias::attention},
                               {"self_attn.k_proj", Bias::attention},
                               {"self_attn.v_proj", Bias::attention},
                               {"self_attn.o_proj", Bias::output}};
constexpr Part kMlp[] = {{"mlp.gate_proj", Bias::mlp}, {"mlp.up_proj", Bias::mlp}, {"mlp.down_proj", Bias::mlp}};
constexpr Part kTwoNorms[] = {{"input_layernorm"}, {"post_attention_layernorm"}};
constexpr Part kGemmaNorms[] = {
    {"input_layernorm"}, {"post_attention_layernorm"}, {"pre_feedforward_layernorm"}, {"post_feedforward_layernorm"}};
constexpr Part kOlmoNorms[] = {{"post_attention_layernorm"}, {"post_feedforward_layernorm"}};
constexpr Part kGlmNorms[] = {
    {"input_layernorm"}, {"post_attention_layernorm"}, {"post_self_attn_layernorm"}, {"post_mlp_layernorm"}};
constexpr Part kHeadNorms[] = {{"self_attn.q_norm"}, {"self_attn.k_norm"}};
constexpr Part kFusedAttention[] = {{"self_attn.qkv_proj"}, {"self_attn.o_proj"}};
constexpr Part kFusedMlp[] = {{"mlp.gate_up_proj"}, {"mlp.down_proj"}};
constexpr Part kGpt2[] = {{"ln_1", Bias::mlp}, {"attn.c_attn", Bias::attention}, {"attn.c_proj", Bias::output},
                          {"ln_2", Bias::mlp}, {"mlp.c_fc", Bias::mlp},          {"mlp.c_proj", Bias::mlp}};

struct Family {
  const char* architecture;
  std::span<const Part> norms, attention, mlp, extra;
};
const Family kFamilies[] = {
    {"LlamaForCausalLM", kTwoNorms, kAttention, kMlp, {}},
    {"MistralForCausalLM", kTwoNorms, kAttention, kMlp, {}},
    {"MinistralForCausalLM", kTwoNorms, kAttention, kMlp, {}},
    {"Qwen2ForCausalLM", kTwoNorms, kAttention, kMlp, {}},
    {"Qwen3ForCausalLM", kTwoNorms, kAttention, kMlp, kHeadNorms},
    {"Gemma2ForCausalLM", kGemmaNorms, kAttention, kMlp, {}},
    {"Gemma3ForCausalLM", kGemmaNorms, kAttention, kMlp, kHeadNorms},
    {"Gemma3ForConditionalGeneration", kGemmaNorms, kAttention, kMlp, kHeadNorms},
    {"Phi3ForCausalLM", kTwoNorms, kFusedAttention, kFusedMlp, {}},
    {"Olmo2ForCausalLM", kOlmoNorms, kAttention, kMlp, kHeadNorms},
    {"Glm4ForCausalLM", kGlmNorms, kAttention, kFusedMlp, {}},
    {"GPT2LMHeadModel", kGpt2, {}, {}, {}},
};

bool has_bias(Bias bias, const ModelConfig& config) {
  return (bias == Bias::attention && config.attention_bias) || (bias == Bias::output && config.output_bias) ||
         (bias == Bias::mlp && config.mlp_bias);
}

}  // namespace

std::optional<std::set<std::string>> expected_tensors(const ModelConfig& config) {
  for (const Family& family : kFamilies) {
    if (config.architecture != family.architecture) continue;
    const bool gpt2 = config.architecture == "GPT2LMHeadModel";
    std::set<std::string> names;
    if (gpt2)
      names = {"transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"};
    else
      names = {"model.embed_tokens.weight", "model.norm.weight"};
    if (!config.tie_word_embeddings) names.insert("lm_head.weight");
    const std::string prefix = gpt2 ? "transformer.h." : "model.layers.";
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      for (const auto& parts : {family.norms, family.attention, family.mlp, family.extra}) {
        for (const Part& part : parts) {
          const std::string name = prefix + std::to_string(layer) + "." + part.name;
          names.insert(name + ".weight");
          if (has_bias(part.bias, config)) names.insert(name + ".bias");
        }
      }
    }
    return names;
  }
  return std::nullopt;
}

bool is_saved_buffer(const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

int64_t layer_of_tensor(std::string_view name) {
  for (const std::string_view part : {".layers.", ".h."}) {
    const size_t at = name.find(part);
    if (at == std::string_view::npos) continue;
    int64_t layer = -1;
    const auto [end, error] = std::from_chars(name.data() + at + part.size(), name.data() + name.size(), layer);
    if (error == std::errc() && layer >= 0) return layer;
  }
  return -1;
}

}  // namespace trireme
