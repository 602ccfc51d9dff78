#include "gateway/sampling_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <random>
#include <tuple>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr int64_t kMostChoices = 128;

// Every field, for merged().
using F = SamplingFlags;
constexpr std::tuple kMembers{&F::temperature,
                              &F::top_p,
                              &F::min_p,
                              &F::typical_p,
                              &F::repetition_penalty,
                              &F::presence_penalty,
                              &F::frequency_penalty,
                              &F::top_k,
                              &F::max_new_tokens,
                              &F::max_length,
                              &F::min_new_tokens,
                              &F::min_length,
                              &F::n,
                              &F::logprobs,
                              &F::prompt_logprobs,
                              &F::seed,
                              &F::do_sample,
                              &F::ignore_eos,
                              &F::penalize_prompt,
                              &F::no_repeat_ngram_size,
                              &F::best_of,
                              &F::beam_width,
                              &F::length_penalty,
                              &F::early_stopping,
                              &F::use_beam_search,
                              &F::include_stop,
                              &F::echo,
                              &F::skip_special,
                              &F::stop,
                              &F::bad_words,
                              &F::stop_token_ids,
                              &F::allowed_token_ids,
                              &F::bad_words_ids,
                              &F::logit_bias};

template <typename T>
const std::optional<T>& either(const std::optional<T>& first, const std::optional<T>& second) {
  return first ? first : second;
}
template <typename T>
const std::vector<T>& either(const std::vector<T>& first, const std::vector<T>& second) {
  return first.empty() ? second : first;
}

std::string number(double value) { return fmt::format("{}", value); }

// What a cast to float or a sum of lengths could not carry; NaN too. Narrower ranges are validate()'s.
void check_carried(const SamplingFlags& flags) {
  const auto finite = [](const std::optional<double>& value, const char* name) {
    if (value && !(std::abs(*value) <= FLT_MAX))
      throw RequestError(std::string(name) + " must be a finite number, got " + number(*value));
  };
  finite(flags.temperature, "temperature");
  if (flags.temperature && *flags.temperature < 0)  // not seen by validate() where nothing is drawn
    throw RequestError("temperature must be a finite number >= 0, got " + number(*flags.temperature));
  finite(flags.top_p, "top_p");
  finite(flags.min_p, "min_p");
  finite(flags.typical_p, "typical_p");
  finite(flags.repetition_penalty, "repetition_penalty");
  finite(flags.presence_penalty, "presence_penalty");
  finite(flags.frequency_penalty, "frequency_penalty");
  finite(flags.length_penalty, "length_penalty");
  const auto at_least = [](int64_t least, const std::optional<int64_t>& value, const char* name) {
    if (value && *value < least)
      throw RequestError(std::string(name) + " must be at least " + std::to_string(least) + ", got " +
                         std::to_string(*value));
  };
  at_least(0, flags.max_length, "max_length");
  at_least(0, flags.min_length, "min_length");
  at_least(0, flags.min_new_tokens, "min_new_tokens");
  at_least(-1, flags.top_k, "top_k");
  at_least(0, flags.logprobs, "logprobs");
  at_least(0, flags.prompt_logprobs, "prompt_logprobs");
  if (flags.min_new_tokens && flags.max_new_tokens && *flags.min_new_tokens > *flags.max_new_tokens)
    throw RequestError("min_new_tokens is " + std::to_string(*flags.min_new_tokens) + ", but max_new_tokens is " +
                       std::to_string(*flags.max_new_tokens));
}

int32_t narrow(int64_t value, const char* name) {
  if (value < INT32_MIN || value > INT32_MAX)
    throw RequestError(std::string(name) + " is out of range: " + std::to_string(value));
  return int32_t(value);
}

// n, and whether it counts beams, draws, or the best of more draws.
void resolve_choices(SamplingParams& params, const SamplingFlags& flags) {
  const int64_t n = flags.n.value_or(1);
  const bool wants_beams = flags.use_beam_search.value_or(false);
  const int64_t width = flags.beam_width.value_or(wants_beams ? n : 1);
  params.n = narrow(n, "n");
  params.beam_width = narrow(width, "beam_width");
  params.length_penalty = float(flags.length_penalty.value_or(1.0));
  params.early_stopping = flags.early_stopping.value_or(EarlyStopping::no);
  const bool beams = wants_beams || params.is_beam_search();
  if (flags.use_beam_search == false && params.is_beam_search())
    throw RequestError("use_beam_search is false, but beam_width is " + std::to_string(width) + ": leave out one");
  if (beams && flags.do_sample == true)
    throw RequestError("beam search draws nothing: leave out do_sample, or set beam_width to 1");
  if (!flags.best_of) return;
  if (beams) throw RequestError("best_of chooses among draws, and beam search draws nothing: leave out one of them");
  if (n < 1) throw RequestError("n must be at least 1, got " + std::to_string(n));
  if (*flags.best_of < n || *flags.best_of > kMostChoices)
    throw RequestError("best_of must be at least n, which is " + std::to_string(n) + ", and at most " +
                       std::to_string(kMostChoices) + "; got " + std::to_string(*flags.best_of));
  params.n = narrow(*flags.best_of, "best_of");
}

// Beam search does not draw: what a model says about drawing is not about it.
GenerationDefaults without_draws(GenerationDefaults defaults) {
  defaults.temperature = defaults.top_p = defaults.min_p = std::nullopt;
  defaults.top_k = std::nullopt;
  defaults.do_sample = std::nullopt;
  return defaults;
}

uint64_t draw_seed() {
  std::random_device source;
  return uint64_t(source()) << 32 | source();
}

}  // namespace

float float_bias(double value) {
  if (!(std::abs(value) <= FLT_MAX)) throw RequestError("a logit_bias must be a finite number, got " + number(value));
  return float(value);
}

SamplingFlags merged(const SamplingFlags& first, const SamplingFlags& second) {
  SamplingFlags out;
  const auto pick = [&](auto... members) { ((out.*members = either(first.*members, second.*members)), ...); };
  std::apply(pick, kMembers);
  return out;
}

SamplingParams resolve(const SamplingFlags& flags, const GenerationDefaults& model, int64_t prompt_tokens,
                       int64_t max_model_len) {
  check_carried(flags);
  const int64_t room = max_model_len - prompt_tokens;
  const bool only_prompt = flags.max_new_tokens == 0 && (flags.echo.value_or(false) || flags.prompt_logprobs);
  if (room < (only_prompt ? 0 : 1))
    throw RequestError("the prompt has " + std::to_string(prompt_tokens) +
                       " tokens, which leaves no room for output in " + "the context of " +
                       std::to_string(max_model_len) + "; shorten it or raise --max-model-len");
  SamplingParams params;
  resolve_choices(params, flags);
  const bool beams = params.is_beam_search() || flags.use_beam_search.value_or(false);  // of width 1: greedy
  const GenerationDefaults defaults = beams ? without_draws(model) : model;
  const bool sample = !beams && flags.do_sample.value_or(flags.temperature ? true : defaults.do_sample.value_or(true));
  params.temperature = sample ? float(flags.temperature.value_or(defaults.temperature.value_or(1.0))) : 0.0f;
  params.top_k = narrow(std::max<int64_t>(flags.top_k.value_or(defaults.top_k.value_or(0)), 0), "top_k");
  params.top_p = float(flags.top_p.value_or(defaults.top_p.value_or(1.0)));
  params.min_p = float(flags.min_p.value_or(defaults.min_p.value_or(0.0)));
  params.typical_p = float(flags.typical_p.value_or(defaults.typical_p.value_or(1.0)));
  params.repetition_penalty = float(flags.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0)));
  params.presence_penalty = float(flags.presence_penalty.value_or(0.0));
  params.frequency_penalty = float(flags.frequency_penalty.value_or(0.0));
  params.penalize_prompt = flags.penalize_prompt.value_or(true);
  params.no_repeat_ngram_size = narrow(flags.no_repeat_ngram_size.value_or(0), "no_repeat_ngram_size");
  params.seed = flags.seed ? *flags.seed : draw_seed();
  params.top_logprobs = narrow(flags.logprobs.value_or(0), "logprobs");
  params.prompt_logprobs = narrow(flags.prompt_logprobs.value_or(-1), "prompt_logprobs");
  params.ignore_eos = flags.ignore_eos.value_or(false);
  params.stop_token_ids = flags.stop_token_ids;
  params.bad_words = flags.bad_words_ids;
  params.allowed_token_ids = flags.allowed_token_ids;
  params.logit_bias = flags.logit_bias;

  int64_t most = kDefaultMaxNewTokens;
  if (defaults.max_length && *defaults.max_length > prompt_tokens) most = *defaults.max_length - prompt_tokens;
  if (defaults.max_new_tokens) most = *defaults.max_new_tokens;
  if (flags.max_length) most = *flags.max_length - prompt_tokens;
  if (flags.max_new_tokens) most = *flags.max_new_tokens;
  if (most < (only_prompt ? 0 : 1))
    throw RequestError("nothing to generate: " +
                       (flags.max_new_tokens
                            ? "max_new_tokens is " + std::to_string(most)
                            : "max_length leaves " + std::to_string(most) + " tokens after the prompt") +
                       "; it must be at least 1 (0: with echo or prompt_logprobs)");
  int64_t least = defaults.min_new_tokens.value_or(0);
  if (defaults.min_length && !defaults.min_new_tokens)
    least = std::max<int64_t>(*defaults.min_length - prompt_tokens, 0);
  if (flags.min_new_tokens) least = *flags.min_new_tokens;
  if (flags.min_length && !flags.min_new_tokens) least = std::max<int64_t>(*flags.min_length - prompt_tokens, 0);
  params.max_new_tokens = narrow(std::min(most, room), "max_new_tokens");
  params.min_new_tokens = narrow(std::min<int64_t>(least, params.max_new_tokens), "min_new_tokens");
  return params;
}

OutputOptions output_options(const SamplingFlags& flags, const SamplingParams& params) {
  OutputOptions options;
  if (flags.stop.size() > kMaxStopStrings)
    throw RequestError("there may be at most 16 stop strings, got " + std::to_string(flags.stop.size()));
  for (const std::string& stop : flags.stop) {
    if (stop.empty()) throw RequestError("a stop string must not be empty");
    if (stop.size() > kMaxStopBytes)
      throw RequestError("a stop string may have at most 256 bytes, got one of " + std::to_string(stop.size()));
    if (find_invalid_utf8(stop) != kValidUtf8) throw RequestError("a stop string must be valid UTF-8");
  }
  options.stop = flags.stop;
  options.include_stop = flags.include_stop.value_or(false);
  options.echo = flags.echo.value_or(false);
  options.skip_special = flags.skip_special.value_or(true);
  options.logprobs = flags.logprobs.has_value();
  options.prompt_logprobs = flags.prompt_logprobs.has_value();
  options.is_beam_search = params.is_beam_search();
  options.best_first = flags.best_of.value_or(1) > 1;
  options.returned = flags.best_of ? narrow(flags.n.value_or(1), "n") : params.n;
  return options;
}

}  // namespace trireme
