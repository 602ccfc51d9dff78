#include "tests/coordinator/support/ledger.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::test {
namespace {

bool same_score(const TokenScore& score, const TokenLogprob& expected) {
  return score.id == expected.id && score.logprob == expected.logprob;
}

bool same_top(const std::vector<TokenScore>& top, const std::vector<TokenLogprob>& expected) {
  return std::ranges::equal(top, expected, same_score);
}

int32_t common_prefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  return int32_t(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

bool Ledger::Entry::ended() const { return failed || std::ranges::all_of(choices, &Choice::ended); }

void Ledger::note(const EngineCommand& command) {
  if (const auto* submit = std::get_if<SubmitCommand>(&command)) {
    Entry& entry = entries_[submit->request.id];
    entry.request = submit->request;
    entry.answer = model_.answer(entry.request);
    entry.choices.resize(size_t(entry.request.sampling.n));
    for (const EmittedChoice& emitted : entry.request.emitted) {
      entry.choices[size_t(emitted.choice)] = {int32_t(emitted.ids.size()), emitted.finished, false};
    }
  } else if (const auto* cancel = std::get_if<CancelCommand>(&command)) {
    if (entries_.contains(cancel->request)) entries_.at(cancel->request).cancelled = true;
  } else {
    stopping_ = true;
    dropping_ = !std::get<ShutdownCommand>(command).drain;
  }
}

void Ledger::note(const EngineEvent& event) {
  if (const auto* token = std::get_if<TokenEvent>(&event)) note_token(*token);
  if (const auto* scores = std::get_if<PromptLogprobsEvent>(&event)) note_scores(*scores);
  if (const auto* failure = std::get_if<RequestFailedEvent>(&event)) note_failure(*failure);
}

void Ledger::note_token(const TokenEvent& event) {
  Entry& entry = entries_.at(event.request);
  Choice& choice = entry.choices.at(size_t(event.choice));
  const ReferenceChoice& expected = entry.answer.choices[size_t(event.choice)];
  CHECK(!entry.failed && !choice.ended) << "request" << event.request << "choice" << event.choice
                                        << "goes on after its end";
  CHECK_EQ(event.index, choice.emitted) << "a gap or a duplicate, request" << event.request;
  choice.ended = event.finish != FinishReason::none;
  if (event.token.id < 0) {
    const bool was_over = size_t(choice.emitted) == expected.ids.size() && event.finish == expected.finish;
    const bool aborted = event.finish == FinishReason::abort && (entry.cancelled || dropping_);
    CHECK(aborted || (was_over && !choice.started)) << "an end without a token, request" << event.request;
    return;
  }
  CHECK(!entry.cancelled && !dropping_) << "a token after the cancel, request" << event.request;
  CHECK_LT(size_t(event.index), expected.ids.size()) << "more tokens than the reference, request" << event.request;
  const OutputResult& result = expected.results[size_t(event.index)];
  CHECK(same_score(event.token, result.token) && event.rank == result.rank && same_top(event.top, result.top))
      << "request" << event.request << "choice" << event.choice << "index" << event.index << "id" << event.token.id
      << "differs from the reference" << result.token.id;
  const bool last = size_t(event.index) + 1 == expected.ids.size();
  CHECK_EQ(int(event.finish), int(last ? expected.finish : FinishReason::none)) << "finish of request" << event.request;
  CHECK_EQ(event.stop_id, event.finish == FinishReason::stop ? event.token.id : -1);
  CHECK(choice.started || event.cached_tokens <= most_cached(entry, event.choice))
      << "request" << event.request << "hit" << event.cached_tokens
      << "tokens that nobody of its salt and adapter computed";
  choice.started = true;
  ++choice.emitted;
}

// What others of the same adapter and salt, or choices of the same request, can have computed before.
int32_t Ledger::most_cached(const Entry& entry, int32_t choice) const {
  const auto history = [](const Entry& of, size_t index) {
    std::vector<TokenId> tokens = of.request.prompt;
    tokens.insert(tokens.end(), of.answer.choices[index].ids.begin(), of.answer.choices[index].ids.end());
    return tokens;
  };
  int32_t most = 0;
  const std::vector<TokenId> own = history(entry, size_t(choice));
  for (const auto& [id, other] : entries_) {
    const bool meets =
        other.request.adapter == entry.request.adapter && other.request.cache_salt == entry.request.cache_salt;
    if (!meets || (id == entry.request.id && entry.request.emitted.empty())) continue;
    for (size_t index = 0; index < other.choices.size(); ++index) {
      most = std::max(most, common_prefix(own, history(other, index)));
    }
    for (const std::vector<TokenId>& beam : other.answer.beams) {
      std::vector<TokenId> tokens = other.request.prompt;
      tokens.insert(tokens.end(), beam.begin(), beam.end());
      most = std::max(most, common_prefix(own, tokens));
    }
  }
  return most;
}

void Ledger::note_scores(const PromptLogprobsEvent& event) {
  Entry& entry = entries_.at(event.request);
  CHECK(entry.request.sampling.prompt_logprobs >= 0 && !entry.ended() && !entry.cancelled);
  CHECK_EQ(event.first_position, entry.next_score) << "prompt scores, request" << event.request;
  CHECK_EQ(event.tokens.size(), event.top.size());
  for (size_t index = 0; index < event.tokens.size(); ++index) {
    const OutputResult& expected = entry.answer.scores.at(size_t(entry.next_score++));
    CHECK(same_score(event.tokens[index], expected.token) && same_top(event.top[index], expected.top))
        << "prompt score of request" << event.request << "position" << entry.next_score - 1;
  }
}

bool Ledger::can_never_run(const Request& request) const {
  const ClusterInfo& cluster = model_.cluster();
  const SamplingParams& sampling = request.sampling;
  if (!sampling.is_beam_search() && sampling.n > std::min(cluster.num_slots, cluster.max_logit_rows)) return true;
  if (sampling.is_beam_search()) return true;  // what a search needs is the scheduler's rule; it must be able to run then
  const int length = std::min(int(request.prompt.size()) + request.sampling.max_new_tokens, cluster.max_model_len);
  return std::ranges::any_of(cluster.groups, [&](const KvGroupInfo& group) {
    return (length - 1 + group.block_size - 1) / group.block_size > group.num_blocks;
  });
}

void Ledger::note_failure(const RequestFailedEvent& event) {
  Entry& entry = entries_.at(event.request);
  CHECK(!entry.ended()) << "request" << event.request << "ends twice";
  entry.failed = true;
  if (event.client_fault) {
    CHECK(can_never_run(entry.request)) << "request" << event.request << "refused:" << event.message;
    return;
  }
  bool explained = stopping_ || event.message.find("queue") != std::string::npos;
  if (entry.request.sampling.prompt_logprobs >= 0 && size_t(entry.next_score) < entry.answer.scores.size()) {
    for (const OutputResult& score : entry.answer.scores) explained |= score.non_finite;
  }
  for (size_t index = 0; index < entry.choices.size(); ++index) {
    const ReferenceChoice& expected = entry.answer.choices[index];
    explained |= expected.fails && size_t(entry.choices[index].emitted) == expected.ids.size();
  }
  CHECK(explained) << "request" << event.request << "failed:" << event.message;
}

void Ledger::check_complete() const {
  for (const auto& [id, entry] : entries_) {
    CHECK(entry.ended()) << "request" << id << "never ended";
    const bool whole = !entry.failed && !entry.cancelled && !dropping_ && entry.request.sampling.prompt_logprobs >= 0;
    const bool began = entry.request.sampling.max_new_tokens == 0 || std::ranges::any_of(entry.choices, &Choice::started);
    CHECK(!whole || !began || size_t(entry.next_score) == entry.answer.scores.size())
        << "prompt scores of request" << id;
  }
}

}  // namespace trireme::test
