#pragma once
// What the front asks of the engine: ids and numbers only. Everything that needs text (stop strings, the
// detokenizer, the chat template) stays in the front.

#include <cstdint>
#include <string>
#include <vector>

namespace trireme {

using RequestId = uint64_t;

// When a beam search ends (Hugging Face's early_stopping): as soon as beam_width finished ones are found; when a
// running beam is unlikely to beat the worst of them; or when, by the best length it can still reach, it cannot.
enum class EarlyStopping : uint8_t { no, yes, never };

struct TokenBias {
  int32_t id = -1;
  float bias = 0;                      // finite, added to the logit
  bool operator==(const TokenBias&) const = default;
};

// Defaults are Hugging Face's generate with sampling, as vLLM has them.
struct SamplingParams {
  float temperature = 1;               // 0: greedy
  int32_t top_k = 0;                   // 0: off
  float top_p = 1;                     // (0, 1]
  float min_p = 0;                     // [0, 1]
  float typical_p = 1;                 // (0, 1]
  float repetition_penalty = 1;        // > 0; of ids in the prompt or drawn
  bool penalize_prompt = true;         // false: repetition_penalty looks at drawn ids only
  float presence_penalty = 0;          // [-2, 2]; of drawn ids, as vLLM
  float frequency_penalty = 0;         // [-2, 2]; likewise
  int32_t no_repeat_ngram_size = 0;    // 0: off; no n ids in a row occur twice in prompt and output
  uint64_t seed = 0;                   // drawn at admission when the client gave none
  int32_t n = 1;                       // choices
  int32_t max_new_tokens = 16;         // 0: the prompt is scored (prompt_logprobs) and nothing drawn; n is 1 then
  int32_t min_new_tokens = 0;
  int32_t top_logprobs = -1;           // -1: no log-probabilities; 0: of the drawn token; k: top k as well
  int32_t prompt_logprobs = -1;        // the same of every prompt token but the first
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids; // end a choice; the id is part of the output
  std::vector<std::vector<int32_t>> bad_words;  // id sequences that may not occur in the output; none empty
  std::vector<int32_t> allowed_token_ids;       // empty: all
  std::vector<TokenBias> logit_bias;            // ids distinct

  // Beam search where beam_width > 1: the n best of beam_width beams, best first; temperature and cuts do not apply.
  int32_t beam_width = 1;
  float length_penalty = 1;            // a finished beam's score is its log-probability / length^this
  EarlyStopping early_stopping = EarlyStopping::no;
  bool is_beam_search() const { return beam_width > 1; }
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
  std::vector<std::string> beam_stop;  // beam search only: texts that end a beam (elsewhere the front finds them)
  bool operator==(const Request&) const = default;
};

std::vector<int32_t> end_ids(const Request& request);  // what ends a choice, ascending: stop ids, end-of-sequence ids
size_t beam_candidates(const Request& request);        // that one step of its beam search looks at, over all beams

// Range checks that need no engine; throws RequestError with the remedy. `vocab_size`, `max_model_len` as the engine told.
void validate(const Request& request, int64_t vocab_size, int64_t max_model_len);

}  // namespace trireme
