#pragma once
// Sampling as people give it (flags, a line of a prompts file), every value optional, and how the layers combine:
// the line, else the flag, else the model's generation_config.json, else vLLM's defaults (temperature 1, no cuts).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/model_config.h"
#include "protocol/request.h"

namespace trireme {

inline constexpr int64_t kDefaultMaxNewTokens = 256;  // where neither flags nor the model say

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, max_new_tokens, max_length, min_new_tokens, min_length, n, logprobs;
  std::optional<uint64_t> seed;
  std::optional<bool> do_sample, ignore_eos;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
};

// Takes the sampling keys of a JSON line out of `object`; throws RequestError naming a value of the wrong type.
SamplingFlags take_sampling(json::object& object);

// `first` where it has a value, else `second`.
SamplingFlags merged(const SamplingFlags& first, const SamplingFlags& second);

// max_new_tokens never exceeds what the context leaves; a seed is drawn where none was given.
SamplingParams resolve(const SamplingFlags& flags, const GenerationDefaults& defaults, int64_t prompt_tokens,
                       int64_t max_model_len);

}  // namespace trireme
