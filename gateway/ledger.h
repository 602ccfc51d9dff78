#pragma once
// What must survive the engine: per request its parameters and seed, per choice every token emitted so far. A token is
// in the ledger before anything of it is shown. One thread (the front's).

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "gateway/restart_fault.h"
#include "protocol/events.h"
#include "protocol/request.h"

namespace trireme {

struct ChoiceRecord {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;               // by token; of the raw logits
  std::vector<int32_t> ranks;                // 1-based among the raw logits
  std::vector<std::vector<TokenScore>> top;  // by token; as many as asked for
  FinishReason finish = FinishReason::none;  // the engine's word; the front may have ended it earlier by text
  int32_t stop_id = -1;
  float beam_score = 0;   // of a finished beam
  std::string stop_text;  // the stop string that ended a beam
  double cumulative_logprob() const;
};

struct RequestRecord {
  Request request;
  std::vector<ChoiceRecord> choices;                // request.sampling.n
  std::vector<TokenScore> prompt_scores;            // of position 1.. of the prompt, as far as asked for and come
  std::vector<std::vector<TokenScore>> prompt_top;  // likewise
  int32_t cached_tokens = 0;
  bool failed = false;
  bool client_fault = false;
  std::string error;
  bool cancelled = false;  // by the front: what still arrives is dropped
  TimePoint admitted, first_token;
  bool ended() const;  // every choice, or failed
  bool has_prompt_scores() const { return prompt_scores.size() + 1 >= request.prompt.size(); }  // all of them
};

class Ledger {
 public:
  RequestRecord& admit(Request request, TimePoint now);
  // Events of requests that were erased or cancelled are dropped. CHECKs: a choice of the request, the next index,
  // nothing after a choice's end. Returns the record that changed, null when dropped.
  RequestRecord* append(const TokenEvent& event, TimePoint now);
  // Scores may begin again at an earlier position until they are complete: an attempt that died left them unfinished.
  // CHECKs: asked for, no gap, the prompt's own ids.
  RequestRecord* append(const PromptLogprobsEvent& event);
  RequestRecord* fail(const RequestFailedEvent& event);

  RequestRecord* find(RequestId id);
  const RequestRecord* find(RequestId id) const;
  void erase(RequestId id);
  size_t size() const { return records_.size(); }

  // The request as the next attempt gets it: with everything emitted so far. Prompt scores are asked for again unless
  // they are complete. Of a beam search nothing is emitted before its end: it starts from the prompt.
  static Request replay(const RequestRecord& record, RestartFault fault = RestartFault::none);

 private:
  std::unordered_map<RequestId, RequestRecord> records_;
};

}  // namespace trireme
