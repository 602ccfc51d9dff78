#pragma once
// What the front asks of the engine: ids and numbers only. Everything that needs text (stop strings, the
// detokenizer, the chat template) stays in the front.

#include <cstdint>
#include <string>
#include <vector>

namespace trireme {

using RequestId = uint64_t;

// Defaults are Hugging Face's generate with sampling, as vLLM has them.
struct SamplingParams {
  float temperature = 1;               // 0: greedy
  int32_t top_k = 0;                   // 0: off
  float top_p = 1;                     // (0, 1]
  float min_p = 0;                     // [0, 1]
  float typical_p = 1;                 // (0, 1]
  float repetition_penalty = 1;        // > 0
  float presence_penalty = 0;          // [-2, 2]
  float frequency_penalty = 0;         // [-2, 2]
  uint64_t seed = 0;                   // drawn at admission when the client gave none
  int32_t n = 1;                       // choices
  int32_t max_new_tokens = 16;         // > 0
  int32_t min_new_tokens = 0;
  int32_t top_logprobs = -1;           // -1: no log-probabilities; 0: of the drawn token; k: top k as well
  bool prompt_logprobs = false;        // of every prompt token but the first
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids; // end a choice; the id is part of the output
  bool operator==(const SamplingParams&) const = default;
};

// What a choice had emitted before this attempt (a replay after a restart); empty on the first.
struct EmittedChoice {
  int32_t choice = 0;
  bool finished = false;
  std::vector<int32_t> ids;
  bool operator==(const EmittedChoice&) const = default;
};

struct Request {
  RequestId id = 0;
  std::vector<int32_t> prompt;         // not empty
  SamplingParams sampling;
  std::vector<int32_t> eos_token_ids;  // of the model
  int32_t adapter = 0;
  uint64_t cache_salt = 0;             // separates prefix caches; 0: shared
  int32_t priority = 0;                // lower first
  std::vector<EmittedChoice> emitted;
  bool operator==(const Request&) const = default;
};

// Range checks that need no engine; throws RequestError with the remedy. `vocab_size`, `max_model_len` as the engine told.
void validate(const Request& request, int64_t vocab_size, int64_t max_model_len);

}  // namespace trireme
