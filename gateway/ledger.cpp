#include "gateway/ledger.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace trireme {

double ChoiceRecord::cumulative_logprob() const { return std::accumulate(logprobs.begin(), logprobs.end(), 0.0); }

bool RequestRecord::ended() const {
  return failed || std::all_of(choices.begin(), choices.end(),
                               [](const ChoiceRecord& choice) { return choice.finish != FinishReason::none; });
}

RequestRecord& Ledger::admit(Request request, TimePoint now) {
  const RequestId id = request.id;
  RequestRecord record;
  record.choices.resize(size_t(request.sampling.n));
  record.request = std::move(request);
  record.admitted = now;
  const auto [entry, fresh] = records_.emplace(id, std::move(record));
  CHECK(fresh) << "request" << id << "admitted twice";
  return entry->second;
}

RequestRecord* Ledger::append(const TokenEvent& event, TimePoint now) {
  RequestRecord* record = find(event.request);
  if (!record || record->cancelled) return nullptr;
  CHECK(!record->failed) << "a token of request" << event.request << "after its failure";
  CHECK(event.choice >= 0 && size_t(event.choice) < record->choices.size()) << "choice" << event.choice;
  ChoiceRecord& choice = record->choices[size_t(event.choice)];
  CHECK(choice.finish == FinishReason::none) << "an event of request" << event.request << "after the end of its choice";
  if (event.token.id >= 0) {
    CHECK_EQ(size_t(event.index), choice.ids.size()) << "token index of request" << event.request;
    if (choice.ids.empty() && record->first_token == TimePoint{}) {
      record->first_token = now;
      record->cached_tokens = event.cached_tokens;
    }
    choice.ids.push_back(event.token.id);
    choice.logprobs.push_back(event.token.logprob);
    choice.ranks.push_back(event.rank);
    choice.top.push_back(event.top);
  }
  choice.finish = event.finish;
  choice.stop_id = event.stop_id;
  choice.beam_score = event.beam_score;
  choice.stop_text = event.stop_text;
  return record;
}

RequestRecord* Ledger::append(const PromptLogprobsEvent& event) {
  RequestRecord* record = find(event.request);
  if (!record || record->cancelled) return nullptr;
  const std::vector<int32_t>& prompt = record->request.prompt;
  CHECK(!record->failed) << "prompt scores of request" << event.request << "after its failure";
  CHECK(record->request.sampling.prompt_logprobs >= 0 && !record->has_prompt_scores())
      << "prompt scores of request" << event.request << "that nobody waits for";
  CHECK(event.first_position >= 1 && size_t(event.first_position) <= record->prompt_scores.size() + 1)
      << "a gap in the prompt scores of request" << event.request << "before position" << event.first_position;
  const size_t first = size_t(event.first_position);
  CHECK(event.tokens.size() == event.top.size() && first + event.tokens.size() <= prompt.size())
      << "prompt scores of request" << event.request << "beyond its prompt";
  for (size_t i = 0; i < event.tokens.size(); ++i)
    CHECK_EQ(event.tokens[i].id, prompt[first + i]) << "id of a prompt score of request" << event.request;
  record->prompt_scores.resize(first - 1);
  record->prompt_top.resize(first - 1);
  record->prompt_scores.insert(record->prompt_scores.end(), event.tokens.begin(), event.tokens.end());
  record->prompt_top.insert(record->prompt_top.end(), event.top.begin(), event.top.end());
  return record;
}

RequestRecord* Ledger::fail(const RequestFailedEvent& event) {
  RequestRecord* record = find(event.request);
  if (!record || record->cancelled) return nullptr;
  record->failed = true;
  record->client_fault = event.client_fault;
  record->error = event.message;
  return record;
}

RequestRecord* Ledger::find(RequestId id) {
  const auto entry = records_.find(id);
  return entry == records_.end() ? nullptr : &entry->second;
}

const RequestRecord* Ledger::find(RequestId id) const {
  const auto entry = records_.find(id);
  return entry == records_.end() ? nullptr : &entry->second;
}

void Ledger::erase(RequestId id) { records_.erase(id); }

Request Ledger::replay(const RequestRecord& record, RestartFault fault) {
  Request request = record.request;
  request.emitted.clear();
  if (record.has_prompt_scores() && fault != RestartFault::scores_asked_again) request.sampling.prompt_logprobs = -1;
  if (fault == RestartFault::seed_redrawn) request.sampling.seed += 1;
  const auto untouched = [](const ChoiceRecord& choice) {
    return choice.ids.empty() && choice.finish == FinishReason::none;
  };
  // As if it were new: its choices share the work on the prompt.
  if (std::ranges::all_of(record.choices, untouched) || fault == RestartFault::emitted_forgotten) return request;
  for (size_t i = 0; i < record.choices.size(); ++i) {
    EmittedChoice emitted{int32_t(i), record.choices[i].finish != FinishReason::none, record.choices[i].ids};
    if (fault == RestartFault::ends_forgotten) emitted.finished = false;
    if (fault == RestartFault::last_token_forgotten && !emitted.ids.empty()) emitted.ids.pop_back();
    request.emitted.push_back(std::move(emitted));
  }
  return request;
}

}  // namespace trireme
