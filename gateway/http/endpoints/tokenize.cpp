// POST /tokenize, /detokenize: as vLLM has them

#include <algorithm>

#include "gateway/api_error.h"
#include "gateway/http/endpoints/chat_fields.h"

namespace trireme {
namespace {

const Tokenizer& tokenizer_of(const Api& api) {
  if (!api.assets.tokenizer)
    throw ApiError(400, "this server runs without a tokenizer: give token ids to /v1/completions");
  return *api.assets.tokenizer;
}

std::vector<int32_t> ids_of(const Api& api, json::object& body, std::optional<bool> add_special_tokens) {
  if (body.contains("messages")) {
    CallFields fields;
    fields.add_special_tokens = add_special_tokens;
    return encode_chat_fields(api, take_chat_fields(body, ToolFormat::none), fields);
  }
  if (!body.contains("prompt")) throw ApiError(400, "give prompt, a text, or messages", "prompt");
  const std::string text = take_text_field(body, "prompt");
  return tokenizer_of(api).encode(text, {.add_special_tokens = add_special_tokens.value_or(true)});
}

}  // namespace

void tokenize(Api& api, const std::shared_ptr<Exchange>& exchange) {
  json::object body = parse_body(exchange->request().body);
  api.check_model(body);
  tokenizer_of(api);
  const std::optional<bool> add_special_tokens = take_bool_field(body, "add_special_tokens");
  const bool with_texts = take_bool_field(body, "return_token_strs").value_or(false);
  const std::vector<int32_t> ids = ids_of(api, body, add_special_tokens);
  api.log_unknown(body);
  json::object answer{{"count", ids.size()},
                      {"max_model_len", api.job.facts()->max_model_len},
                      {"tokens", json::value_from(ids)},
                      {"token_strs", nullptr}};
  if (with_texts) {
    json::array texts;
    for (const int32_t id : ids) texts.emplace_back(json::string(api.assets.tokenizer->token_text(id)));
    answer["token_strs"] = std::move(texts);
  }
  respond_json(*exchange, answer);
}

void detokenize(Api& api, const std::shared_ptr<Exchange>& exchange) {
  json::object body = parse_body(exchange->request().body);
  api.check_model(body);
  const Tokenizer& tokenizer = tokenizer_of(api);
  const std::vector<int32_t> ids = parse_token_ids(take_field(body, "tokens"), "tokens");
  api.log_unknown(body);
  for (const int32_t id : ids)
    if (id >= tokenizer.vocab_size())
      throw ApiError(400, "tokens holds id " + std::to_string(id) + "; this model's ids are 0 to " +
                              std::to_string(tokenizer.vocab_size() - 1), "tokens");
  respond_json(*exchange, json::object{{"prompt", tokenizer.decode(ids, false)}});
}

}  // namespace trireme
