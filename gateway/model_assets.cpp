#include "gateway/model_assets.h"

#include "base/error.h"

namespace trireme {
namespace {

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

}  // namespace

ModelAssets open_model_assets(const std::string& model, bool with_tokenizer) {
  ModelAssets assets{open_checkpoint(model, {.need_weights = false, .need_tokenizer = with_tokenizer}), nullptr, {}};
  if (!with_tokenizer) return assets;
  assets.tokenizer = make_tokenizer(tokenizer_source(assets.checkpoint.tokenizer));
  if (!assets.checkpoint.tokenizer.chat_template.empty())
    assets.chat_template.emplace(assets.checkpoint.tokenizer.chat_template);
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

std::string ModelAssets::render_chat(const json::value& messages) const {
  if (!tokenizer || !chat_template)
    throw RequestError("the model " + checkpoint.name + " has no chat template; give plain prompts (without --chat)");
  ChatTemplateInput input;
  input.messages = messages;
  if (tokenizer->bos_id() >= 0) input.variables["bos_token"] = tokenizer->token_text(int32_t(tokenizer->bos_id()));
  if (tokenizer->eos_id() >= 0) input.variables["eos_token"] = tokenizer->token_text(int32_t(tokenizer->eos_id()));
  return chat_template->render(input);
}

std::vector<int32_t> ModelAssets::encode_chat(const json::value& messages) const {
  const std::string text = render_chat(messages);  // writes bos itself where the model wants it
  return tokenizer->encode(text, {.add_special_tokens = false, .parse_special = true});
}

}  // namespace trireme
