#include "gateway/http/endpoints/call_fields.h"

#include <algorithm>

#include "gateway/api_error.h"
#include "gateway/sampling_json.h"

namespace trireme {
namespace {

struct Unsupported {
  const char* name;
  const char* remedy;
};
constexpr Unsupported kUnsupported[] = {
    {"guided_json", "leave it out and say the form in the prompt"},
    {"guided_regex", "leave it out and say the form in the prompt"},
    {"guided_choice", "leave it out; allowed_token_ids limits what is drawn"},
    {"guided_grammar", "leave it out and say the form in the prompt"},
    {"structured_outputs", "leave it out and say the form in the prompt"},
    {"logits_processors", "use logit_bias, bad_words or allowed_token_ids"},
    {"suffix", "write the text behind the gap into the prompt"},
    {"audio", "ask for text"},
    {"functions", "use tools"},
    {"function_call", "use tools"},
    {"prediction", "leave it out"},
    {"web_search_options", "leave it out"},
    {"prompt_embeds", "give the prompt as text or ids"},
    {"logprob_token_ids", "use top_logprobs"},
    {"thinking_token_budget", "use max_tokens"},
    {"watermarking", "leave it out"},
    {"repetition_detection", "use repetition_penalty"},
    {"kv_transfer_params", "leave it out"},
    {"mm_processor_kwargs", "leave it out"},
    {"media_io_kwargs", "leave it out"},
    {"vllm_xargs", "leave it out"},
    {"return_prompt_text", "use echo"},
};

constexpr const char* kIgnored[] = {
    "user",       "store",     "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "session_id",
    "include_reasoning", "verbosity", "parallel_tool_calls"};

bool says_nothing(const json::value& value) {
  return value.is_null() || (value.is_bool() && !value.get_bool()) ||
         (value.is_string() && value.get_string().empty()) || (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

[[noreturn]] void refuse(std::string_view name, std::string_view remedy) {
  const std::string field(name);
  throw ApiError(400, field + " is not supported by this server: " + std::string(remedy), field);
}

void refuse_unsupported(json::object& body) {
  for (const Unsupported& field : kUnsupported)
    if (!says_nothing(take_field(body, field.name))) refuse(field.name, field.remedy);
  if (const json::value format = take_field(body, "response_format"); !says_nothing(format)) {
    const json::value* type = format.is_object() ? format.get_object().if_contains("type") : nullptr;
    if (!type || *type != "text") refuse("response_format", "only {\"type\": \"text\"} is");
  }
  if (const json::value modalities = take_field(body, "modalities");
      !says_nothing(modalities) && modalities != json::array{"text"})
    refuse("modalities", "only [\"text\"] is");
  if (take_bool_field(body, "spaces_between_special_tokens") == false)
    refuse("spaces_between_special_tokens", "leave it out");
  if (take_integer_field(body, "stream_interval").value_or(1) != 1) refuse("stream_interval", "leave it out");
}

void take_stream_options(json::object& body, CallFields& fields) {
  fields.stream = take_bool_field(body, "stream").value_or(false);
  json::value options = take_field(body, "stream_options");
  if (options.is_null()) return;
  if (!fields.stream) throw ApiError(400, "stream_options needs \"stream\": true", "stream_options");
  if (!options.is_object()) throw ApiError(400, "stream_options must be an object", "stream_options");
  fields.include_usage = take_bool_field(options.get_object(), "include_usage").value_or(false);
  fields.continuous_usage = take_bool_field(options.get_object(), "continuous_usage_stats").value_or(false);
}

uint64_t salt_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
  return text.empty() ? 0 : std::max<uint64_t>(hash, 1);
}

}  // namespace

json::value take_field(json::object& body, std::string_view key) {
  const auto entry = body.find(key);
  if (entry == body.end()) return nullptr;
  json::value value = std::move(entry->value());
  body.erase(entry);
  return value;
}

std::optional<bool> take_bool_field(json::object& body, std::string_view key) {
  const json::value value = take_field(body, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_bool()) throw ApiError(400, std::string(key) + " must be true or false", std::string(key));
  return value.get_bool();
}

std::optional<int64_t> take_integer_field(json::object& body, std::string_view key) {
  const json::value value = take_field(body, key);
  if (value.is_null()) return std::nullopt;
  json::error_code error;
  const int64_t number = value.is_number() ? value.to_number<int64_t>(error) : 0;
  if (!value.is_number() || error) throw ApiError(400, std::string(key) + " must be a whole number", std::string(key));
  return number;
}

std::string take_text_field(json::object& body, std::string_view key) {
  const json::value value = take_field(body, key);
  if (value.is_null()) return {};
  if (!value.is_string()) throw ApiError(400, std::string(key) + " must be a text", std::string(key));
  return std::string(value.get_string());
}

std::vector<int32_t> parse_token_ids(const json::value& value, std::string_view key) {
  if (!value.is_array()) throw ApiError(400, std::string(key) + " must be a list of ids", std::string(key));
  std::vector<int32_t> ids;
  for (const json::value& item : value.get_array()) {
    json::error_code error;
    ids.push_back(item.is_number() ? item.to_number<int32_t>(error) : -1);
    if (error || ids.back() < 0)
      throw ApiError(400, std::string(key) + " must hold ids, got " + json::serialize(item), std::string(key));
  }
  return ids;
}

CallFields take_call_fields(json::object& body) {
  CallFields fields;
  take_stream_options(body, fields);
  refuse_unsupported(body);
  fields.return_token_ids = take_bool_field(body, "return_token_ids").value_or(false);
  fields.tokens_as_ids = take_bool_field(body, "return_tokens_as_token_ids").value_or(false);
  fields.truncate_prompt_tokens = take_integer_field(body, "truncate_prompt_tokens");
  if (fields.truncate_prompt_tokens && *fields.truncate_prompt_tokens < 1 && *fields.truncate_prompt_tokens != -1)
    throw ApiError(400, "truncate_prompt_tokens must be at least 1, or -1 for what the context takes",
                   "truncate_prompt_tokens");
  const std::string side = take_text_field(body, "truncation_side");
  if (!side.empty() && side != "left" && side != "right")
    throw ApiError(400, "truncation_side must be left or right", "truncation_side");
  fields.truncate_left = side != "right";
  fields.add_special_tokens = take_bool_field(body, "add_special_tokens");
  const int64_t priority = take_integer_field(body, "priority").value_or(0);
  if (priority < INT32_MIN || priority > INT32_MAX) throw ApiError(400, "priority is out of range", "priority");
  fields.priority = int32_t(priority);
  fields.cache_salt = salt_of(take_text_field(body, "cache_salt"));
  fields.request_id = take_text_field(body, "request_id").substr(0, 256);
  fields.sampling = take_sampling(body);
  fields.shows_prompt_logprobs = fields.sampling.prompt_logprobs.has_value();
  return fields;
}

void ignore_rest(Api& api, json::object body) {
  for (const char* name : kIgnored) body.erase(name);
  api.log_unknown(body);
}

std::vector<int32_t> truncated(std::vector<int32_t> ids, const CallFields& fields, const EngineFacts& facts) {
  if (!fields.truncate_prompt_tokens) return ids;
  const int64_t room = facts.max_model_len - std::max<int64_t>(fields.sampling.max_new_tokens.value_or(1), 0);
  const int64_t keep = *fields.truncate_prompt_tokens > 0 ? *fields.truncate_prompt_tokens : std::max<int64_t>(room, 1);
  if (int64_t(ids.size()) <= keep) return ids;
  if (fields.truncate_left) ids.erase(ids.begin(), ids.end() - keep);
  ids.resize(size_t(keep));
  return ids;
}

ServePrompt prepare_prompt(const Api& api, const EngineFacts& facts, const CallFields& fields, std::vector<int32_t> ids,
                           std::optional<int64_t> default_max_tokens) {
  SamplingFlags flags = fields.sampling;
  const auto prompt_tokens = int64_t(ids.size());
  const int64_t room = facts.max_model_len - prompt_tokens;
  const int64_t asked = flags.max_new_tokens.value_or(1);
  if (asked > room)
    throw ApiError(400,
                   "the model's context is " + std::to_string(facts.max_model_len) +
                       " tokens, and the request asks for " + std::to_string(prompt_tokens) + " of prompt and " +
                       (flags.max_new_tokens ? "" : "at least ") + std::to_string(asked) +
                       " of output: shorten the prompt, lower max_tokens, or give truncate_prompt_tokens",
                   prompt_tokens >= facts.max_model_len ? "prompt" : "max_tokens");
  if (!flags.max_new_tokens && !flags.max_length)
    flags.max_new_tokens = std::clamp<int64_t>(default_max_tokens.value_or(room), 1, room);
  ServePrompt prompt{prepare_request(flags, api.assets, std::move(ids), facts.vocab_size, facts.max_model_len), {}};
  prompt.prepared.request.priority = fields.priority;
  prompt.prepared.request.cache_salt = fields.cache_salt;
  return prompt;
}

}  // namespace trireme
