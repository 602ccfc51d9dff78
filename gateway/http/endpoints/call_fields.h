#pragma once
// Fields that completions and chats share, beside the sampling values (gateway/sampling_json.h).

#include "gateway/http/endpoints/api.h"
#include "gateway/sampling_flags.h"

namespace trireme {

struct CallFields {
  bool stream = false, include_usage = false, continuous_usage = false;
  bool return_token_ids = false, tokens_as_ids = false;
  std::optional<int64_t> truncate_prompt_tokens;  // keep so many; -1: as many as the context takes
  bool truncate_left = true;                      // which end is cut off
  std::optional<bool> add_special_tokens;
  int32_t priority = 0;
  uint64_t cache_salt = 0;
  std::string request_id;
  bool shows_prompt_logprobs = false;  // asked for by that name
  SamplingFlags sampling;
};

// Values of a wrong type throw RequestError naming the key; null is as good as absent.
json::value take_field(json::object& body, std::string_view key);
std::optional<bool> take_bool_field(json::object& body, std::string_view key);
std::optional<int64_t> take_integer_field(json::object& body, std::string_view key);
std::string take_text_field(json::object& body, std::string_view key);  // "": absent
std::vector<int32_t> parse_token_ids(const json::value& value, std::string_view key);

// Takes them and the sampling values. Throws RequestError, and ApiError naming a field that is known and not supported.
CallFields take_call_fields(json::object& body);
// Takes what may be ignored without a word, and logs the rest.
void ignore_rest(Api& api, json::object body);

// Ids of the prompt, cut as asked for.
std::vector<int32_t> truncated(std::vector<int32_t> ids, const CallFields& fields, const EngineFacts& facts);
// `default_max_tokens`: where the call says nothing; nothing: what the context leaves. Throws ApiError 400 with the
// figures where prompt and max_tokens exceed the context.
ServePrompt prepare_prompt(const Api& api, const EngineFacts& facts, const CallFields& fields, std::vector<int32_t> ids,
                           std::optional<int64_t> default_max_tokens);

}  // namespace trireme
