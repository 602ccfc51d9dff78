#include "checkpoint/inspect.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checked.h"
#include "checkpoint/expected_tensors.h"

namespace trireme {
namespace {

bool is_embedding(const std::string& name) {
  return name == "model.embed_tokens.weight" || name == "transformer.wte.weight" || name == "transformer.wpe.weight";
}

void list_tensors(const TensorSource& source, Inspection& report) {
  const auto expected = expected_tensors(report.config);
  report.tensors_known = expected.has_value();
  std::set<std::string> absent = expected.value_or(std::set<std::string>{});
  for (const TensorInfo& tensor : source.tensors()) {
    absent.erase(tensor.name);
    if (expected && !expected->contains(tensor.name)) {
      if (!is_saved_buffer(tensor.name)) report.unused.push_back(tensor.name);
      continue;
    }
    const int64_t parameters = checked_elements(tensor.shape).value_or(0);
    report.tensors.push_back(
        {tensor.name, tensor.dtype, tensor.shape, layer_of_tensor(tensor.name), parameters, tensor.bytes});
  }
  report.missing.assign(absent.begin(), absent.end());
}

void sum_tensors(Inspection& report) {
  for (const TensorSize& tensor : report.tensors) {
    report.parameters += tensor.parameters;
    report.weight_bytes += tensor.bytes;
    if (is_embedding(tensor.name)) report.embedding_parameters += tensor.parameters;
    auto use = std::ranges::find(report.dtypes, tensor.dtype, &DTypeUse::dtype);
    if (use == report.dtypes.end()) use = report.dtypes.insert(use, DTypeUse{.dtype = tensor.dtype});
    ++use->tensors;
    use->parameters += tensor.parameters;
    use->bytes += tensor.bytes;
  }
  std::ranges::stable_sort(report.dtypes, std::greater(), &DTypeUse::bytes);
}

// The largest id of the vocabulary or of an added token, plus one.
int64_t count_tokens(const json::object& tokenizer) {
  int64_t count = 0;
  const json::value* model = tokenizer.if_contains("model");
  const json::value* vocabulary = model && model->is_object() ? model->get_object().if_contains("vocab") : nullptr;
  if (vocabulary && vocabulary->is_array()) count = int64_t(vocabulary->get_array().size());
  const auto see = [&count](const json::value* id) {
    if (id && id->is_int64()) count = std::max(count, id->get_int64() + 1);
  };
  if (vocabulary && vocabulary->is_object())
    for (const auto& member : vocabulary->get_object()) see(&member.value());
  const json::value* added = tokenizer.if_contains("added_tokens");
  if (added && added->is_array())
    for (const json::value& token : added->get_array())
      if (token.is_object()) see(token.get_object().if_contains("id"));
  return count;
}

void read_tokenizer(const TokenizerMaterial& material, Inspection& report) {
  report.chat_template = !material.chat_template.empty();
  for (const auto& [name, text] : material.named_templates) report.template_names.push_back(name);
  report.tokenizer = "none";
  if (!material.gguf_model.empty()) {
    report.tokenizer = "GGUF " + material.gguf_model + (material.gguf_pre.empty() ? "" : ", " + material.gguf_pre);
    report.tokens = int64_t(material.tokens.size());
  }
  if (material.tokenizer_json.empty()) return;
  const json::value document = parse_json(material.tokenizer_json, "tokenizer.json");
  if (!document.is_object()) throw CheckpointError("tokenizer.json is not a JSON object: fetch it again");
  const json::value* model = document.get_object().if_contains("model");
  const json::value* type = model && model->is_object() ? model->get_object().if_contains("type") : nullptr;
  report.tokenizer = "tokenizer.json (" + (type && type->is_string() ? std::string(type->get_string()) : "?") + ")";
  report.tokens = count_tokens(document.get_object());
}

bool has_tensor(const std::vector<std::string>& names, const char* name) {
  return std::ranges::find(names, name) != names.end();
}

void note_tensors(Inspection& report) {
  const auto note = [&](const std::string& text) { report.notes.push_back(text); };
  if (!report.tensors_known) note("no list of tensors is known for this architecture: none was checked by name");
  if (!report.missing.empty())
    note(std::to_string(report.missing.size()) + " tensors are missing, the first is " + report.missing.front() +
         ": the model will not load");
  if (report.config.tie_word_embeddings && has_tensor(report.unused, "lm_head.weight"))
    note("lm_head.weight is in the files although the embeddings are tied: the embedding is used, it is not");
  const size_t others = report.unused.size() - size_t(has_tensor(report.unused, "lm_head.weight"));
  if (others > 0) note(std::to_string(others) + " tensors are not used, see the list");
}

void note_dtypes(Inspection& report) {
  std::string kinds;
  int count = 0;
  for (const DTypeUse& use : report.dtypes) {
    const bool in_matrices = std::ranges::any_of(
        report.tensors, [&](const TensorSize& tensor) { return tensor.dtype == use.dtype && tensor.shape.size() > 1; });
    if (!in_matrices) continue;
    ++count;
    kinds += (kinds.empty() ? "" : ", ") + std::string(dtype_name(use.dtype));
    if (!is_float_dtype(use.dtype) && !is_block_dtype(use.dtype))
      report.notes.push_back("tensors of dtype " + std::string(dtype_name(use.dtype)) +
                             " are integers, which do not load as weights");
  }
  if (count > 1) report.notes.push_back("matrices of " + std::to_string(count) + " dtypes: " + kinds);
  if (count != 1 || report.format == "gguf" || report.dtypes.front().dtype == report.config.dtype) return;
  report.notes.push_back("config.json says " + std::string(dtype_name(report.config.dtype)) + ", the weights are " +
                         std::string(dtype_name(report.dtypes.front().dtype)));
}

void note_tokens(const TokenizerMaterial& material, Inspection& report) {
  const ModelConfig& config = report.config;
  const auto note = [&](const std::string& text) { report.notes.push_back(text); };
  if (config.eos_token_ids.empty()) note("no end-of-text id: only max_tokens and stop strings end an answer");
  if (material.eos_id >= 0 && std::ranges::count(config.eos_token_ids, material.eos_id) == 0)
    note("the tokenizer's end-of-text id " + std::to_string(material.eos_id) + " is not one of the model's");
  if (report.tokens > config.vocab_size)
    note("the tokenizer knows " + std::to_string(report.tokens) + " ids, the model only " +
         std::to_string(config.vocab_size) + ": texts with the others are refused");
  if (report.tokenizer != "none" && !report.chat_template) note("no chat template: plain prompts only");
}

void note_layout(Inspection& report) {
  const ModelConfig& config = report.config;
  const auto note = [&](const std::string& text) { report.notes.push_back(text); };
  if (report.tp > config.num_heads)
    note("tp " + std::to_string(report.tp) + " is more than the " + std::to_string(config.num_heads) +
         " heads: it cannot run so");
  else if (report.tp > config.num_kv_heads)
    note("tp " + std::to_string(report.tp) + " is more than the " + std::to_string(config.num_kv_heads) +
         " KV heads: some are kept twice");
  if (report.pp > config.num_layers)
    note("pp " + std::to_string(report.pp) + " is more than the " + std::to_string(config.num_layers) +
         " layers: it cannot run so");
}

}  // namespace

Inspection inspect(const Checkpoint& checkpoint, int tp, int pp) {
  Inspection report;
  report.name = checkpoint.name;
  report.path = checkpoint.path;
  report.format = checkpoint.format;
  report.config = checkpoint.config;
  report.tp = tp;
  report.pp = pp;
  read_tokenizer(checkpoint.tokenizer, report);
  if (checkpoint.source) {
    list_tensors(*checkpoint.source, report);
    sum_tensors(report);
    note_tensors(report);
    note_dtypes(report);
  }
  note_tokens(checkpoint.tokenizer, report);
  note_layout(report);
  return report;
}

RankWeights rank_weights(const Inspection& inspection, int64_t layer_begin, int64_t layer_end, bool first_stage,
                         bool last_stage) {
  RankWeights weights;
  for (const TensorSize& tensor : inspection.tensors) {
    bool ours = layer_begin <= tensor.layer && tensor.layer < layer_end;
    if (is_embedding(tensor.name))
      ours = first_stage ||
             (last_stage && inspection.config.tie_word_embeddings && tensor.name != "transformer.wpe.weight");
    else if (tensor.layer < 0)
      ours = last_stage;
    if (!ours) continue;
    const int64_t share = tensor.shape.size() > 1 && tensor.name != "transformer.wpe.weight" ? inspection.tp : 1;
    weights.bytes += (tensor.bytes + share - 1) / share;
    weights.parameters += (tensor.parameters + share - 1) / share;
  }
  return weights;
}

}  // namespace trireme
