#include "protocol/request.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace trireme {
namespace {

constexpr int32_t kMaxChoices = 128;
constexpr int32_t kMaxTopLogprobs = 20;
constexpr size_t kMaxStopIds = 256;
constexpr size_t kMaxBadWords = 1024;
constexpr size_t kMaxBadWordIds = 64;
constexpr size_t kMaxBiases = 1024;
constexpr int32_t kMaxNgram = 1024;
constexpr int32_t kMaxBeamWidth = 16;
constexpr size_t kMaxBeamCandidates = 64;  // that one beam is asked for in a step
constexpr size_t kMaxBeamStops = 16, kMaxBeamStopBytes = 256;

template <typename T>
void require(bool holds, const char* name, const char* range, T value) {
  if (!holds) throw RequestError(std::string(name) + " must be " + range + ", got " + std::to_string(value));
}

// Comparisons are written so that NaN fails them.
void validate_sampling(const SamplingParams& sampling) {
  require(sampling.temperature >= 0 && std::isfinite(sampling.temperature), "temperature", "a finite number >= 0",
          sampling.temperature);
  require(sampling.top_k >= 0, "top_k", ">= 0 (0 turns it off)", sampling.top_k);
  require(sampling.top_p > 0 && sampling.top_p <= 1, "top_p", "in (0, 1]", sampling.top_p);
  require(sampling.min_p >= 0 && sampling.min_p <= 1, "min_p", "in [0, 1]", sampling.min_p);
  require(sampling.typical_p > 0 && sampling.typical_p <= 1, "typical_p", "in (0, 1]", sampling.typical_p);
  require(sampling.repetition_penalty > 0 && std::isfinite(sampling.repetition_penalty), "repetition_penalty",
          "a finite number > 0", sampling.repetition_penalty);
  require(sampling.presence_penalty >= -2 && sampling.presence_penalty <= 2, "presence_penalty", "in [-2, 2]",
          sampling.presence_penalty);
  require(sampling.frequency_penalty >= -2 && sampling.frequency_penalty <= 2, "frequency_penalty", "in [-2, 2]",
          sampling.frequency_penalty);
  require(sampling.n >= 1 && sampling.n <= kMaxChoices, "n", "in [1, 128]", sampling.n);
  require(sampling.max_new_tokens >= 0, "max_new_tokens", ">= 0", sampling.max_new_tokens);
  require(sampling.max_new_tokens > 0 || sampling.n == 1, "n", "1 where max_new_tokens is 0", sampling.n);
  require(sampling.min_new_tokens >= 0 && sampling.min_new_tokens <= sampling.max_new_tokens, "min_new_tokens",
          "in [0, max_new_tokens]", sampling.min_new_tokens);
  require(sampling.top_logprobs >= -1 && sampling.top_logprobs <= kMaxTopLogprobs, "top_logprobs",
          "in [0, 20], or -1 for none", sampling.top_logprobs);
  require(sampling.prompt_logprobs >= -1 && sampling.prompt_logprobs <= kMaxTopLogprobs, "prompt_logprobs",
          "in [0, 20], or -1 for none", sampling.prompt_logprobs);
  require(sampling.no_repeat_ngram_size >= 0 && sampling.no_repeat_ngram_size <= kMaxNgram, "no_repeat_ngram_size",
          "in [0, 1024] (0 turns it off)", sampling.no_repeat_ngram_size);
  require(sampling.stop_token_ids.size() <= kMaxStopIds, "the number of stop_token_ids", "at most 256",
          sampling.stop_token_ids.size());
}

void validate_ids(const std::vector<int32_t>& ids, const char* name, int64_t vocab_size) {
  for (int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      throw RequestError(std::string(name) + " holds token id " + std::to_string(id) + "; this model's ids are 0 to " +
                         std::to_string(vocab_size - 1));
    }
  }
}

void validate_lists(const SamplingParams& sampling, int64_t vocab_size) {
  require(sampling.bad_words.size() <= kMaxBadWords, "the number of bad_words", "at most 1024",
          sampling.bad_words.size());
  for (const std::vector<int32_t>& word : sampling.bad_words) {
    require(!word.empty() && word.size() <= kMaxBadWordIds, "the tokens of one of bad_words", "1 to 64", word.size());
    validate_ids(word, "bad_words", vocab_size);
  }
  require(int64_t(sampling.allowed_token_ids.size()) <= vocab_size, "the number of allowed_token_ids",
          "at most the vocabulary's size", sampling.allowed_token_ids.size());
  validate_ids(sampling.allowed_token_ids, "allowed_token_ids", vocab_size);
  require(sampling.logit_bias.size() <= kMaxBiases, "the number of entries of logit_bias", "at most 1024",
          sampling.logit_bias.size());
  std::set<int32_t> biased;
  for (const TokenBias& bias : sampling.logit_bias) {
    validate_ids({bias.id}, "logit_bias", vocab_size);
    require(std::isfinite(bias.bias), "a logit_bias", "a finite number", bias.bias);
    require(biased.insert(bias.id).second, "an id of logit_bias", "named once", bias.id);
  }
}

void validate_beams(const Request& request) {
  const SamplingParams& sampling = request.sampling;
  require(sampling.beam_width >= 1 && sampling.beam_width <= kMaxBeamWidth, "beam_width", "in [1, 16]",
          sampling.beam_width);
  require(std::isfinite(sampling.length_penalty) && std::abs(sampling.length_penalty) <= 100, "length_penalty",
          "a number in [-100, 100]", sampling.length_penalty);
  if (!sampling.is_beam_search()) return;
  require(sampling.max_new_tokens > 0, "max_new_tokens of a beam search", "> 0", sampling.max_new_tokens);
  require(sampling.n <= sampling.beam_width, "n, the beams returned,", "at most beam_width", sampling.n);
  const size_t candidates = beam_candidates(request);
  require(candidates <= kMaxBeamCandidates,
          "(1 + the number of end and stop ids) x beam_width, the candidates of a beam search step,",
          "at most 64: lower beam_width", candidates);
  require(request.beam_stop.size() <= kMaxBeamStops, "the number of stop strings", "at most 16",
          request.beam_stop.size());
  for (const std::string& stop : request.beam_stop)
    require(!stop.empty() && stop.size() <= kMaxBeamStopBytes, "the bytes of a stop string", "1 to 256", stop.size());
}

void validate_emitted(const Request& request, int64_t vocab_size) {
  std::set<int32_t> seen;
  for (const EmittedChoice& emitted : request.emitted) {
    require(emitted.choice >= 0 && emitted.choice < request.sampling.n, "an emitted choice", "in [0, n)",
            emitted.choice);
    require(seen.insert(emitted.choice).second, "an emitted choice", "named once", emitted.choice);
    require(emitted.ids.size() <= size_t(request.sampling.max_new_tokens), "the number of emitted ids",
            "at most max_new_tokens", emitted.ids.size());
    validate_ids(emitted.ids, "an emitted choice", vocab_size);
  }
}

}  // namespace

std::vector<int32_t> end_ids(const Request& request) {
  std::set<int32_t> ids(request.sampling.stop_token_ids.begin(), request.sampling.stop_token_ids.end());
  if (!request.sampling.ignore_eos) ids.insert(request.eos_token_ids.begin(), request.eos_token_ids.end());
  return {ids.begin(), ids.end()};
}

size_t beam_candidates(const Request& request) {
  return std::max<size_t>(2, 1 + end_ids(request).size()) * size_t(request.sampling.beam_width);
}

void validate(const Request& request, int64_t vocab_size, int64_t max_model_len) {
  if (request.prompt.empty()) throw RequestError("the prompt is empty: send at least one token");
  const int64_t least_room = std::min(request.sampling.max_new_tokens, 1);
  if (int64_t(request.prompt.size()) + least_room > max_model_len) {
    throw RequestError("the prompt has " + std::to_string(request.prompt.size()) + " tokens, and the model holds " +
                       std::to_string(max_model_len) +
                       " of prompt and output together: shorten the prompt or raise --max-model-len");
  }
  validate_sampling(request.sampling);
  require(request.adapter >= 0, "adapter", ">= 0 (0: none)", request.adapter);
  validate_ids(request.prompt, "the prompt", vocab_size);
  validate_ids(request.sampling.stop_token_ids, "stop_token_ids", vocab_size);
  validate_ids(request.eos_token_ids, "eos_token_ids", vocab_size);
  validate_lists(request.sampling, vocab_size);
  validate_beams(request);
  validate_emitted(request, vocab_size);
}

}  // namespace trireme
