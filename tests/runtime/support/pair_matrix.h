#pragma once
// The pair matrix: every two features of generation at once. A case is a set of one or two features; it says what its
// requests ask for, how they are run together, and what must be seen for the case to mean anything.

#include <array>
#include <string>
#include <vector>

#include "tests/runtime/support/generation_run.h"

namespace trireme::test {

enum class Feature : uint8_t {
  beam, choices, prefix_cache, chunked_prefill, preemption, logprobs, prompt_logprobs, penalties, stop_strings,
  min_length
};
inline constexpr int kNumFeatures = 10;
inline constexpr std::array<const char*, kNumFeatures> kFeatureNames = {
    "beam",     "n",               "prefix_cache", "chunked_prefill", "preemption",
    "logprobs", "prompt_logprobs", "penalties",    "stop_strings",    "min_length"};

struct PairCase {
  Feature first, second;  // equal: the feature alone
  bool has(Feature feature) const { return feature == first || feature == second; }
  int number() const { return int(first) * kNumFeatures + int(second); }
  std::string name() const {
    const std::string one = kFeatureNames[size_t(first)];
    return first == second ? one : one + "_x_" + kFeatureNames[size_t(second)];
  }
};

inline std::vector<PairCase> pair_cases() {
  std::vector<PairCase> cases;
  for (int first = 0; first < kNumFeatures; ++first)
    for (int second = first; second < kNumFeatures; ++second) cases.push_back({Feature(first), Feature(second)});
  return cases;
}

inline constexpr int kPairRequests = 4;
inline constexpr int32_t kMinLength = 7;
inline constexpr int32_t kPromptLengths[kPairRequests] = {45, 47, 44, 46};  // the first new tokens need a block more
inline constexpr int32_t kSharedLength = 33;

// Without a feature: what the same requests would be, to see that it matters.
inline std::vector<StopRequest> pair_requests(const PairCase& pair, int32_t vocab, bool with_penalties = true,
                                              bool with_min_length = true) {
  uint64_t state = 777 + uint64_t(pair.number());
  const auto random_id = [&] {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return int32_t(3 + (state >> 33) % uint64_t(vocab - 3));
  };
  std::vector<int32_t> shared;
  for (int32_t i = 0; i < kSharedLength; ++i) shared.push_back(random_id());
  const int32_t end = random_id();
  std::vector<StopRequest> requests;
  for (int number = 0; number < kPairRequests; ++number) {
    StopRequest& each = requests.emplace_back();
    Request& request = each.request;
    SamplingParams& sampling = request.sampling;
    request.id = RequestId(pair.number() * kPairRequests + number + 1);
    if (pair.has(Feature::prefix_cache)) request.prompt = shared;
    while (int32_t(request.prompt.size()) < kPromptLengths[number]) request.prompt.push_back(random_id());
    request.eos_token_ids = {1};
    sampling.temperature = 0.8f;
    sampling.seed = 40 + request.id;
    sampling.max_new_tokens = 18 + number;
    if (pair.has(Feature::beam)) sampling.beam_width = 4;
    if (pair.has(Feature::choices)) sampling.n = 3;
    if (pair.has(Feature::logprobs)) sampling.top_logprobs = number;
    // Who wants the prompt's scores computes all of it; the last one can use what the others left.
    if (pair.has(Feature::prompt_logprobs) && number < kPairRequests - 1) sampling.prompt_logprobs = number;
    if (pair.has(Feature::penalties) && with_penalties) {
      sampling.repetition_penalty = 1.3f;
      sampling.presence_penalty = 0.5f;
      sampling.frequency_penalty = 0.25f;
    }
    if (pair.has(Feature::stop_strings))
      (sampling.is_beam_search() ? request.beam_stop : each.stop) = {"er", "th", "an", "ou", "ed", "al", "is"};
    if (pair.has(Feature::min_length)) {  // an end that comes soon unless it is held back
      request.eos_token_ids.push_back(end);
      sampling.logit_bias = {{end, 9}};
      if (with_min_length) sampling.min_new_tokens = kMinLength;
    }
  }
  return requests;
}

// Few tokens a step, so that later requests find what earlier ones left in the prefix cache.
inline GenerationRun alone(const std::string& model, Shape shape) {
  GenerationRun run{.model = model, .shape = shape, .options = {}, .scheduling = {}, .one_at_a_time = true};
  run.options.max_num_seqs = 16;
  run.options.max_num_batched_tokens = 64;
  run.options.num_blocks = 200;
  run.options.max_model_len = 96;
  run.scheduling.enable_prefix_caching = false;
  return run;
}

inline GenerationRun together(const PairCase& pair, const std::string& model, Shape shape) {
  GenerationRun run = alone(model, shape);
  run.one_at_a_time = false;
  run.scheduling.enable_prefix_caching = pair.has(Feature::prefix_cache);
  if (pair.has(Feature::chunked_prefill)) {
    run.scheduling.prefill_chunk = 16;
    run.options.max_num_batched_tokens = 32;
  }
  // A search of four beams needs 14 blocks; one choice up to 5, and two are admitted where 7 are free.
  if (pair.has(Feature::preemption)) run.options.num_blocks = pair.has(Feature::beam) ? 15 : 7;
  return run;
}

}  // namespace trireme::test
