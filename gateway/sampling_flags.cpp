#include "gateway/sampling_flags.h"

#include <algorithm>
#include <random>

#include "base/error.h"

namespace trireme {
namespace {

template <typename T>
void take(json::object& object, std::string_view key, std::optional<T>& target) {
  const auto entry = object.find(key);
  if (entry == object.end()) return;
  json::error_code error;
  const json::value& value = entry->value();
  if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_bool()) throw RequestError(std::string(key) + " must be true or false");
    target = value.get_bool();
  } else {
    const T number = value.is_number() ? value.to_number<T>(error) : T{};
    if (!value.is_number() || error)
      throw RequestError(std::string(key) + " must be " + (std::is_integral_v<T> ? "a whole number" : "a number") +
                         ", got " + json::serialize(value));
    target = number;
  }
  object.erase(entry);
}

void take_stop(json::object& object, std::vector<std::string>& stop) {
  const auto entry = object.find("stop");
  if (entry == object.end()) return;
  const json::value value = entry->value();
  object.erase(entry);
  if (value.is_string())
    stop.emplace_back(value.get_string());
  else if (value.is_array())
    for (const json::value& item : value.get_array()) {
      if (!item.is_string()) throw RequestError("stop must be a text or a list of texts");
      stop.emplace_back(item.get_string());
    }
  else if (!value.is_null())
    throw RequestError("stop must be a text or a list of texts");
}

void take_stop_ids(json::object& object, std::vector<int32_t>& ids) {
  const auto entry = object.find("stop_token_ids");
  if (entry == object.end()) return;
  if (!entry->value().is_array()) throw RequestError("stop_token_ids must be a list of ids");
  for (const json::value& item : entry->value().get_array()) {
    json::error_code error;
    ids.push_back(item.is_number() ? item.to_number<int32_t>(error) : -1);
    if (error || ids.back() < 0)
      throw RequestError("stop_token_ids must be a list of ids, got " + json::serialize(item));
  }
  object.erase(entry);
}

template <typename T>
std::optional<T> either(const std::optional<T>& first, const std::optional<T>& second) {
  return first ? first : second;
}

int32_t narrow(int64_t value, const char* name) {
  if (value < INT32_MIN || value > INT32_MAX)
    throw RequestError(std::string(name) + " is out of range: " + std::to_string(value));
  return int32_t(value);
}

uint64_t draw_seed() {
  std::random_device source;
  return uint64_t(source()) << 32 | source();
}

}  // namespace

SamplingFlags take_sampling(json::object& object) {
  SamplingFlags flags;
  take(object, "temperature", flags.temperature);
  take(object, "top_p", flags.top_p);
  take(object, "min_p", flags.min_p);
  take(object, "typical_p", flags.typical_p);
  take(object, "repetition_penalty", flags.repetition_penalty);
  take(object, "presence_penalty", flags.presence_penalty);
  take(object, "frequency_penalty", flags.frequency_penalty);
  take(object, "top_k", flags.top_k);
  take(object, "max_tokens", flags.max_new_tokens);
  take(object, "max_new_tokens", flags.max_new_tokens);
  take(object, "max_length", flags.max_length);
  take(object, "min_tokens", flags.min_new_tokens);
  take(object, "min_new_tokens", flags.min_new_tokens);
  take(object, "min_length", flags.min_length);
  take(object, "n", flags.n);
  take(object, "logprobs", flags.logprobs);
  take(object, "seed", flags.seed);
  take(object, "do_sample", flags.do_sample);
  take(object, "ignore_eos", flags.ignore_eos);
  take_stop(object, flags.stop);
  take_stop_ids(object, flags.stop_token_ids);
  return flags;
}

SamplingFlags merged(const SamplingFlags& first, const SamplingFlags& second) {
  SamplingFlags out;
  out.temperature = either(first.temperature, second.temperature);
  out.top_p = either(first.top_p, second.top_p);
  out.min_p = either(first.min_p, second.min_p);
  out.typical_p = either(first.typical_p, second.typical_p);
  out.repetition_penalty = either(first.repetition_penalty, second.repetition_penalty);
  out.presence_penalty = either(first.presence_penalty, second.presence_penalty);
  out.frequency_penalty = either(first.frequency_penalty, second.frequency_penalty);
  out.top_k = either(first.top_k, second.top_k);
  out.max_new_tokens = either(first.max_new_tokens, second.max_new_tokens);
  out.max_length = either(first.max_length, second.max_length);
  out.min_new_tokens = either(first.min_new_tokens, second.min_new_tokens);
  out.min_length = either(first.min_length, second.min_length);
  out.n = either(first.n, second.n);
  out.logprobs = either(first.logprobs, second.logprobs);
  out.seed = either(first.seed, second.seed);
  out.do_sample = either(first.do_sample, second.do_sample);
  out.ignore_eos = either(first.ignore_eos, second.ignore_eos);
  out.stop = first.stop.empty() ? second.stop : first.stop;
  out.stop_token_ids = first.stop_token_ids.empty() ? second.stop_token_ids : first.stop_token_ids;
  return out;
}

SamplingParams resolve(const SamplingFlags& flags, const GenerationDefaults& defaults, int64_t prompt_tokens,
                       int64_t max_model_len) {
  const int64_t room = max_model_len - prompt_tokens;
  if (room < 1)
    throw RequestError("the prompt has " + std::to_string(prompt_tokens) +
                       " tokens, which leaves no room for output in " + "the context of " +
                       std::to_string(max_model_len) + "; shorten it or raise --max-model-len");
  SamplingParams params;
  const bool sample = flags.do_sample.value_or(flags.temperature ? true : defaults.do_sample.value_or(true));
  params.temperature = sample ? float(flags.temperature.value_or(defaults.temperature.value_or(1.0))) : 0.0f;
  params.top_k = narrow(std::max<int64_t>(flags.top_k.value_or(defaults.top_k.value_or(0)), 0), "top_k");
  params.top_p = float(flags.top_p.value_or(defaults.top_p.value_or(1.0)));
  params.min_p = float(flags.min_p.value_or(defaults.min_p.value_or(0.0)));
  params.typical_p = float(flags.typical_p.value_or(defaults.typical_p.value_or(1.0)));
  params.repetition_penalty = float(flags.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0)));
  params.presence_penalty = float(flags.presence_penalty.value_or(0.0));
  params.frequency_penalty = float(flags.frequency_penalty.value_or(0.0));
  params.n = narrow(flags.n.value_or(1), "n");
  params.seed = flags.seed ? *flags.seed : draw_seed();
  params.top_logprobs = narrow(flags.logprobs.value_or(0), "logprobs");
  params.ignore_eos = flags.ignore_eos.value_or(false);
  params.stop_token_ids = flags.stop_token_ids;

  int64_t most = kDefaultMaxNewTokens;
  if (defaults.max_length && *defaults.max_length > prompt_tokens) most = *defaults.max_length - prompt_tokens;
  if (defaults.max_new_tokens) most = *defaults.max_new_tokens;
  if (flags.max_length) most = *flags.max_length - prompt_tokens;
  if (flags.max_new_tokens) most = *flags.max_new_tokens;
  if (most < 1)
    throw RequestError("nothing to generate: " +
                       (flags.max_new_tokens
                            ? "max_new_tokens is " + std::to_string(most)
                            : "max_length leaves " + std::to_string(most) + " tokens after the prompt") +
                       "; it must be at least 1");
  int64_t least = defaults.min_new_tokens.value_or(0);
  if (defaults.min_length && !defaults.min_new_tokens)
    least = std::max<int64_t>(*defaults.min_length - prompt_tokens, 0);
  if (flags.min_new_tokens) least = *flags.min_new_tokens;
  if (flags.min_length && !flags.min_new_tokens) least = std::max<int64_t>(*flags.min_length - prompt_tokens, 0);
  params.max_new_tokens = narrow(std::min(most, room), "max_new_tokens");
  params.min_new_tokens = narrow(std::min<int64_t>(least, params.max_new_tokens), "min_new_tokens");
  return params;
}

}  // namespace trireme
