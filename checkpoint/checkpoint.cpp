#include "checkpoint/checkpoint.h"

#include <dirent.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checked.h"
#include "checkpoint/gguf.h"
#include "checkpoint/hf_cache.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/quantization.h"
#include "checkpoint/safetensors.h"

namespace trireme {
namespace {

// What the model argument turned out to be.
struct Resolved {
  std::string path;
  std::string name;
  std::string remedy;  // ends the error about a file that is missing from it
};

std::string strip_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string last_component(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Resolved resolve(const std::string& model) {
  if (is_directory(model) || is_regular_file(model)) {
    const std::string path = strip_slashes(model);
    return {path, last_component(path), "copy or download the model again"};
  }
  const bool may_be_repository = is_repository_name(model);
  const std::string command = "hf download " + model;
  if (may_be_repository) {
    if (auto snapshot = find_in_hub_cache(model)) return {*snapshot, model, "complete the download with: " + command};
    throw CheckpointError("no file or directory " + quoted(model) + ", and no such model in the Hugging Face cache " +
                          hub_cache_directory() + "; fetch it with: " + command);
  }
  throw CheckpointError(
      "no file or directory " + quoted(model) +
      ": name a Hugging Face model directory, a .gguf file, or org/name of a model in the Hugging Face cache");
}

// Names of a folder's entries that end so, sorted; empty when there is no such folder.
std::vector<std::string> files_in(const std::string& folder, std::string_view suffix) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), ::closedir);
  if (!listing) return names;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (std::string_view(entry->d_name).ends_with(suffix)) names.push_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Of a list of {name, template} the one called "default", else the first, is the model's; all are kept by name.
void read_template_list(const json::array& list, const std::string& what, TokenizerMaterial& material) {
  for (const json::value& item : list) {
    const JsonFields entry(item, what + ": chat_template");
    const std::string name = entry.text("name", ""), text = entry.text("template", "");
    if (material.named_templates.empty() || name == "default") material.chat_template = text;
    material.named_templates.emplace(name, text);
  }
}

// additional_chat_templates/NAME.jinja beside chat_template.jinja.
void read_template_folder(const std::string& folder, TokenizerMaterial& material) {
  for (const std::string& file : files_in(folder, ".jinja"))
    material.named_templates.insert_or_assign(file.substr(0, file.size() - 6), read_small_file(folder + "/" + file));
}

void read_templates(const std::string& directory, TokenizerMaterial& material) {
  if (!material.tokenizer_config_json.empty()) {
    const std::string what = directory + "/tokenizer_config.json";
    const json::value document = parse_json(material.tokenizer_config_json, what);
    const JsonFields fields(document, what);
    const json::value* value = fields.find("chat_template");
    if (value && value->is_array())
      read_template_list(value->get_array(), what, material);
    else
      material.chat_template = fields.text("chat_template", "");
  }
  const std::string file = directory + "/chat_template.jinja";
  if (is_regular_file(file)) material.chat_template = read_small_file(file);
  read_template_folder(directory + "/additional_chat_templates", material);
}

TokenizerMaterial read_tokenizer(const std::string& directory, bool required, const std::string& remedy) {
  TokenizerMaterial material;
  const std::string tokenizer = directory + "/tokenizer.json";
  const std::string config = directory + "/tokenizer_config.json";
  if (is_regular_file(tokenizer))
    material.tokenizer_json = read_small_file(tokenizer);
  else if (required)
    throw CheckpointError(tokenizer + " is missing: " + remedy +
                          "; a model that has only a slow tokenizer gets the file from transformers: "
                          "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)");
  if (is_regular_file(config)) material.tokenizer_config_json = read_small_file(config);
  read_templates(directory, material);
  return material;
}

// Tensor names as the text model alone has them: a multimodal model's begin with its attribute (old and Transformers 5
// spellings), and checkpoints saved from the inner model alone lack its attribute (the published gpt2 does).
void complete_names(const ModelConfig& config, FileTensorSource& source) {
  source.replace_prefix("language_model.model.", "model.");
  source.replace_prefix("language_model.lm_head.", "lm_head.");
  source.replace_prefix("model.language_model.", "model.");
  const bool gpt2 = config.architecture == "GPT2LMHeadModel";
  const std::string probe = gpt2 ? "wte.weight" : "embed_tokens.weight";
  if (source.find(probe)) source.prefix_names(gpt2 ? "transformer." : "model.", "lm_head.");
}

void read_config(const std::string& path, Checkpoint& checkpoint) {
  const std::string text = read_small_file(path);
  refuse_quantized_config(text, path);
  checkpoint.config = parse_model_config(text, path);
}

void open_directory(const Resolved& model, const CheckpointOptions& options, Checkpoint& checkpoint) {
  const std::string config = model.path + "/config.json";
  if (!is_regular_file(config)) {
    const std::vector<std::string> gguf = files_in(model.path, ".gguf");
    throw CheckpointError(
        config + " is missing: " +
        (gguf.empty() ? model.remedy : "name the file " + model.path + "/" + gguf.front() + " instead of its folder"));
  }
  read_config(config, checkpoint);
  const std::string generation = model.path + "/generation_config.json";
  if (is_regular_file(generation))
    checkpoint.defaults = parse_generation_config(read_small_file(generation), generation, checkpoint.config);
  checkpoint.tokenizer = read_tokenizer(model.path, options.need_tokenizer, model.remedy);
  checkpoint.format = "config";
  if (!options.need_weights) return;
  checkpoint.format = "safetensors";
  auto source = open_safetensors(model.path, model.remedy);
  refuse_quantized_tensors(*source);
  complete_names(checkpoint.config, *source);
  checkpoint.source = std::move(source);
}

void open_gguf(const Resolved& model, const CheckpointOptions& options, Checkpoint& checkpoint) {
  GgufModel gguf = open_gguf_model(model.path);
  checkpoint.format = "gguf";
  checkpoint.config = gguf_model_config(gguf);
  checkpoint.tokenizer = gguf_tokenizer(gguf.metadata);
  if (options.need_tokenizer && checkpoint.tokenizer.tokens.empty())
    throw CheckpointError(model.path +
                          " holds no tokenizer (tokenizer.ggml.tokens): convert the model anew with its tokenizer");
  if (checkpoint.name.ends_with(".gguf")) checkpoint.name.resize(checkpoint.name.size() - 5);
  if (gguf.files.size() > 1)
    checkpoint.name.resize(checkpoint.name.size() - std::string_view("-00001-of-00003").size());
  if (options.need_weights) checkpoint.source = make_gguf_source(std::move(gguf), checkpoint.config);
}

void open_bare_config(const Resolved& model, const CheckpointOptions& options, Checkpoint& checkpoint) {
  if (options.need_weights || options.need_tokenizer)
    throw CheckpointError(
        model.path + " is a config without " + (options.need_weights ? "weights" : "a tokenizer") +
        ": name the model's directory, or use --load-format dummy where random weights and ids will do");
  read_config(model.path, checkpoint);
  checkpoint.format = "config";
  if (checkpoint.name.ends_with(".json")) checkpoint.name.resize(checkpoint.name.size() - 5);
}

}  // namespace

Checkpoint open_checkpoint(const std::string& model, const CheckpointOptions& options) {
  const Resolved resolved = resolve(model);
  Checkpoint checkpoint;
  checkpoint.path = resolved.path;
  checkpoint.name = resolved.name;
  if (is_directory(resolved.path))
    open_directory(resolved, options, checkpoint);
  else if (resolved.path.ends_with(".json"))
    open_bare_config(resolved, options, checkpoint);
  else if (resolved.path.ends_with(".safetensors"))
    throw CheckpointError(resolved.path + " is one file of a model: name the directory that holds it and config.json");
  else
    open_gguf(resolved, options, checkpoint);
  return checkpoint;
}

}  // namespace trireme
