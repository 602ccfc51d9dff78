#pragma once
// Sampling as people give it (flags, a line of a prompts file), every value optional, and how the layers combine:
// the line, else the flag, else the model's generation_config.json, else vLLM's defaults (temperature 1, no cuts).
// docs/generation.md describes every value.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "protocol/request.h"

namespace trireme {

inline constexpr int64_t kDefaultMaxNewTokens = 256;  // where neither flags nor the model say
inline constexpr size_t kMaxStopStrings = 16, kMaxStopBytes = 256;

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, max_new_tokens, max_length, min_new_tokens, min_length, n, logprobs, prompt_logprobs;
  std::optional<uint64_t> seed;
  std::optional<bool> do_sample, ignore_eos, penalize_prompt;
  std::optional<int64_t> no_repeat_ngram_size, best_of, beam_width;
  std::optional<double> length_penalty;
  std::optional<EarlyStopping> early_stopping;
  std::optional<bool> use_beam_search;     // vLLM's: beam_width is n where none is given
  std::optional<bool> include_stop, echo;  // the stop string, the prompt are part of the text
  std::optional<bool> skip_special;        // special tokens are no part of the text
  std::vector<std::string> stop, bad_words;
  std::vector<int32_t> stop_token_ids, allowed_token_ids;
  std::vector<std::vector<int32_t>> bad_words_ids;
  std::vector<TokenBias> logit_bias;
};

float float_bias(double value);  // of logit_bias; throws RequestError unless it is finite

// `first` where it has a value, else `second`.
SamplingFlags merged(const SamplingFlags& first, const SamplingFlags& second);

// max_new_tokens never exceeds what the context leaves, and is 0 only where the prompt is shown or scored; a seed is
// drawn where none was given; n is best_of where that is given. Bad words that are text are not in it
// (prepared_request.h). Throws RequestError for values that no validate() sees later, and for those that exclude each
// other.
SamplingParams resolve(const SamplingFlags& flags, const GenerationDefaults& defaults, int64_t prompt_tokens,
                       int64_t max_model_len);

// What a request asks of the front alone.
struct OutputOptions {
  std::vector<std::string> stop;  // at most 16 of 256 bytes, none empty
  bool include_stop = false, echo = false, skip_special = true;
  bool logprobs = false, prompt_logprobs = false;  // shown
  int32_t returned = 1;                            // choices; fewer than sampling.n where best_of asks for more
  bool best_first = false;  // by log-probability per token, of equals the lower choice first (best_of above 1)
  bool is_beam_search = false;
  bool streams() const { return !best_first && !is_beam_search; }  // else nothing is known before the end
};

// `params`: of resolve(). Throws RequestError.
OutputOptions output_options(const SamplingFlags& flags, const SamplingParams& params);

}  // namespace trireme
