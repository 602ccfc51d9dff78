// tokenizer.json (and the names of bos and eos in tokenizer_config.json) -> parts.
#include "base/error.h"
#include "text/tokenizer_readers.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace trireme {
namespace {

AddedToken read_added_token(const PartFields& fields) {
  AddedToken token;
  token.content = fields.text("content");
  token.id = fields.id("id");
  token.single_word = fields.flag_or("single_word", false);
  token.lstrip = fields.flag_or("lstrip", false);
  token.rstrip = fields.flag_or("rstrip", false);
  token.special = fields.flag_or("special", false);
  token.normalized = fields.flag_or("normalized", !token.special);
  return token;
}

// "bos_token" is a string, an object with "content", or null.
int64_t named_token(const PartFields& config, std::string_view key, const TokenizerParts& parts) {
  const json::value* value = config.find(key);
  if (!value) return -1;
  const std::string name = value->is_object() ? config.object(key).text("content") : config.text(key);
  for (const AddedToken& token : parts.added_tokens)
    if (token.content == name) return token.id;
  return parts.model->vocabulary().find(name);
}

}  // namespace

TokenizerParts read_tokenizer_json(const TokenizerSource& source) {
  const json::value root = parse_json(source.tokenizer_json, "tokenizer.json");
  const PartFields fields(root, "tokenizer.json");
  TokenizerParts parts;
  parts.model = make_token_model(fields.object("model"));
  if (fields.find("added_tokens"))
    for (const auto& entry : fields.array("added_tokens"))
      parts.added_tokens.push_back(read_added_token(PartFields(entry, "tokenizer.json added_tokens")));
  if (fields.find("normalizer")) parts.normalizer = make_normalizer(fields.object("normalizer"));
  if (fields.find("pre_tokenizer")) parts.pre_tokenizer = make_pre_tokenizer(fields.object("pre_tokenizer"));
  if (fields.find("post_processor")) parts.post_processor = make_post_processor(fields.object("post_processor"));
  if (fields.find("decoder")) parts.decoder = make_decoder(fields.object("decoder"));
  if (!source.tokenizer_config_json.empty()) {
    const json::value config = parse_json(source.tokenizer_config_json, "tokenizer_config.json");
    const PartFields config_fields(config, "tokenizer_config.json");
    parts.bos_id = named_token(config_fields, "bos_token", parts);
    parts.eos_id = named_token(config_fields, "eos_token", parts);
  }
  return parts;
}

}  // namespace trireme
