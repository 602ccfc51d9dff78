#include "gateway/model_assets.h"

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/input_file.h"

namespace trireme {
namespace {

constexpr size_t kMaxTemplateBytes = size_t(16) << 20;

TokenizerSource tokenizer_source(const TokenizerMaterial& material) {
  TokenizerSource source;
  source.tokenizer_json = material.tokenizer_json;
  source.tokenizer_config_json = material.tokenizer_config_json;
  source.gguf_model = material.gguf_model;
  source.gguf_pre = material.gguf_pre;
  source.tokens = material.tokens;
  source.token_types = material.token_types;
  source.merges = material.merges;
  source.bos_id = material.bos_id;
  source.eos_id = material.eos_id;
  source.unknown_id = material.unknown_id;
  source.pad_id = material.pad_id;
  source.scores = material.scores;
  source.add_bos = material.add_bos;
  source.add_eos = material.add_eos;
  source.add_space_prefix = material.add_space_prefix;
  return source;
}

ChatTemplateSet templates_of_file(const std::string& path) {
  try {
    if (is_directory(path)) throw CheckpointError("it is a directory: name the file");
    const std::string source = read_text_file(path, kMaxTemplateBytes);
    if (source.empty()) throw CheckpointError("the file is empty");
    return ChatTemplateSet(source, {});
  } catch (const CheckpointError& error) {
    throw ConfigError("--chat-template " + path + ": " + error.what());
  }
}

}  // namespace

ModelAssets open_model_assets(const std::string& model, bool with_tokenizer, const std::string& template_file) {
  ModelAssets assets;
  assets.checkpoint = open_checkpoint(model, {.need_weights = false, .need_tokenizer = with_tokenizer});
  if (!with_tokenizer) return assets;
  assets.tokenizer = make_tokenizer(tokenizer_source(assets.checkpoint.tokenizer));
  const TokenizerMaterial& material = assets.checkpoint.tokenizer;
  assets.chat_templates = template_file.empty() ? ChatTemplateSet(material.chat_template, material.named_templates)
                                                : templates_of_file(template_file);
  return assets;
}

std::vector<int32_t> ModelAssets::eos_token_ids() const {
  std::vector<int32_t> ids;
  for (int64_t id : checkpoint.config.eos_token_ids) ids.push_back(int32_t(id));
  return ids;
}

std::vector<int32_t> ModelAssets::encode_text(const std::string& text) const {
  if (!tokenizer) throw RequestError("a text prompt needs a tokenizer; give prompt_token_ids instead");
  return tokenizer->encode(text);
}

RenderedChat ModelAssets::render_chat(const ChatRequest& chat) const {
  if (!tokenizer) throw RequestError("a chat needs a tokenizer; give prompt_token_ids instead");
  if (chat_templates.empty())
    throw RequestError("the model " + checkpoint.name +
                       " has no chat template; give plain prompts (without --chat), or one with --chat-template");
  ChatTemplateInput input;
  input.messages = chat.messages;
  input.tools = chat.tools;
  input.documents = chat.documents;
  input.template_kwargs = chat.template_kwargs;
  input.add_generation_prompt = chat.add_generation_prompt.value_or(!chat.continue_final_message);
  if (chat.continue_final_message) input.continue_final_message = "content";
  if (tokenizer->bos_id() >= 0) input.variables["bos_token"] = tokenizer->token_text(int32_t(tokenizer->bos_id()));
  if (tokenizer->eos_id() >= 0) input.variables["eos_token"] = tokenizer->token_text(int32_t(tokenizer->eos_id()));
  return chat_templates.select(!chat.tools.is_null(), chat.template_name).render_marked(input);
}

std::vector<int32_t> ModelAssets::encode_chat(const RenderedChat& chat, bool trust_special_tokens) const {
  EncodeOptions options{.add_special_tokens = false, .parse_special = true};  // the template writes bos itself
  if (!trust_special_tokens) options.untrusted = chat.untrusted;
  return tokenizer->encode(chat.text, options);
}

}  // namespace trireme
