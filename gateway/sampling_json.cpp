#include "gateway/sampling_json.h"

#include <charconv>

#include "base/error.h"

namespace trireme {
namespace {

std::optional<json::value> take_value(json::object& object, std::string_view key) {
  const auto entry = object.find(key);
  if (entry == object.end()) return std::nullopt;
  json::value value = std::move(entry->value());
  object.erase(entry);
  if (value.is_null()) return std::nullopt;
  return value;
}

template <typename T>
void take(json::object& object, std::string_view key, std::optional<T>& target) {
  const std::optional<json::value> value = take_value(object, key);
  if (!value) return;
  if constexpr (std::is_same_v<T, bool>) {
    if (!value->is_bool()) throw RequestError(std::string(key) + " must be true or false");
    target = value->get_bool();
  } else {
    json::error_code error;
    const T number = value->is_number() ? value->to_number<T>(error) : T{};
    if (!value->is_number() || error)
      throw RequestError(std::string(key) + " must be " + (std::is_integral_v<T> ? "a whole number" : "a number") +
                         ", got " + json::serialize(*value));
    target = number;
  }
}

void take_texts(json::object& object, std::string_view key, std::vector<std::string>& texts) {
  const std::optional<json::value> value = take_value(object, key);
  if (!value) return;
  const json::array list = value->is_array() ? value->get_array() : json::array{*value};
  for (const json::value& item : list) {
    if (!item.is_string()) throw RequestError(std::string(key) + " must be a text or a list of texts");
    texts.emplace_back(item.get_string());
  }
}

std::vector<int32_t> id_list(const json::value& value, std::string_view key) {
  if (!value.is_array()) throw RequestError(std::string(key) + " must be a list of ids");
  std::vector<int32_t> ids;
  for (const json::value& item : value.get_array()) {
    json::error_code error;
    ids.push_back(item.is_number() ? item.to_number<int32_t>(error) : -1);
    if (error || ids.back() < 0)
      throw RequestError(std::string(key) + " must be a list of ids, got " + json::serialize(item));
  }
  return ids;
}

void take_ids(json::object& object, std::string_view key, std::vector<int32_t>& ids) {
  if (const auto value = take_value(object, key)) ids = id_list(*value, key);
}

void take_allowed(json::object& object, std::vector<int32_t>& ids) {
  const bool given = object.contains("allowed_token_ids") && !object.at("allowed_token_ids").is_null();
  take_ids(object, "allowed_token_ids", ids);
  if (given && ids.empty())
    throw RequestError("allowed_token_ids must not be empty: nothing could be generated; leave it out to allow all");
}

void take_id_lists(json::object& object, std::string_view key, std::vector<std::vector<int32_t>>& lists) {
  const auto value = take_value(object, key);
  if (!value) return;
  if (!value->is_array()) throw RequestError(std::string(key) + " must be a list of lists of ids");
  for (const json::value& item : value->get_array()) lists.push_back(id_list(item, key));
}

void take_biases(json::object& object, std::vector<TokenBias>& biases) {
  const auto value = take_value(object, "logit_bias");
  if (!value) return;
  if (!value->is_object()) throw RequestError("logit_bias must be an object {\"ID\": BIAS}");
  for (const auto& [key, bias] : value->get_object()) {
    TokenBias entry;
    const auto [rest, failure] = std::from_chars(key.data(), key.data() + key.size(), entry.id);
    json::error_code error;
    const double number = bias.is_number() ? bias.to_number<double>(error) : 0;
    if (failure != std::errc() || rest != key.data() + key.size() || !bias.is_number() || error)
      throw RequestError("logit_bias must be an object {\"ID\": BIAS}, got \"" + std::string(key) +
                         "\": " + json::serialize(bias));
    entry.bias = float_bias(number);
    biases.push_back(entry);
  }
}

void take_early_stopping(json::object& object, std::optional<EarlyStopping>& target) {
  const auto value = take_value(object, "early_stopping");
  if (!value) return;
  if (value->is_bool())
    target = value->get_bool() ? EarlyStopping::yes : EarlyStopping::no;
  else if (value->is_string() && value->get_string() == "never")
    target = EarlyStopping::never;
  else
    throw RequestError("early_stopping must be true, false or \"never\", got " + json::serialize(*value));
}

}  // namespace

SamplingFlags take_sampling(json::object& object) {
  SamplingFlags flags;
  take(object, "temperature", flags.temperature);
  take(object, "top_p", flags.top_p);
  take(object, "min_p", flags.min_p);
  take(object, "typical_p", flags.typical_p);
  take(object, "repetition_penalty", flags.repetition_penalty);
  take(object, "penalize_prompt", flags.penalize_prompt);
  take(object, "presence_penalty", flags.presence_penalty);
  take(object, "frequency_penalty", flags.frequency_penalty);
  take(object, "top_k", flags.top_k);
  for (const char* key : {"max_tokens", "max_completion_tokens", "max_new_tokens"})
    take(object, key, flags.max_new_tokens);
  take(object, "max_length", flags.max_length);
  for (const char* key : {"min_tokens", "min_new_tokens"}) take(object, key, flags.min_new_tokens);
  take(object, "min_length", flags.min_length);
  for (const char* key : {"num_return_sequences", "n"}) take(object, key, flags.n);
  take(object, "best_of", flags.best_of);
  for (const char* key : {"num_beams", "beam_width"}) take(object, key, flags.beam_width);
  take(object, "use_beam_search", flags.use_beam_search);
  take(object, "length_penalty", flags.length_penalty);
  take_early_stopping(object, flags.early_stopping);
  take(object, "logprobs", flags.logprobs);
  take(object, "prompt_logprobs", flags.prompt_logprobs);
  take(object, "seed", flags.seed);
  take(object, "do_sample", flags.do_sample);
  take(object, "ignore_eos", flags.ignore_eos);
  for (const char* key : {"stop", "stop_strings"}) take_texts(object, key, flags.stop);
  take_ids(object, "stop_token_ids", flags.stop_token_ids);
  take(object, "include_stop_str_in_output", flags.include_stop);
  take(object, "echo", flags.echo);
  take(object, "skip_special_tokens", flags.skip_special);
  take(object, "no_repeat_ngram_size", flags.no_repeat_ngram_size);
  take_texts(object, "bad_words", flags.bad_words);
  take_id_lists(object, "bad_words_ids", flags.bad_words_ids);
  take_allowed(object, flags.allowed_token_ids);
  take_biases(object, flags.logit_bias);
  return flags;
}

}  // namespace trireme
