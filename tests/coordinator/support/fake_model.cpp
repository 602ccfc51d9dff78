#include "tests/coordinator/support/fake_model.h"

#include <algorithm>
#include <bit>
#include <span>

#include "coordinator/beam_search.h"

namespace trireme::test {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + std::rotl(b, 29) + 0x632be59bd9b4e019u;
  x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 29)) * 0x94d049bb133111ebu;
  return x ^ (x >> 32);
}

// Hidden states of one sequence, position after position, without blocks.
class PlainRun {
 public:
  PlainRun(const FakeModel& model, int32_t adapter)
      : model_(model), adapter_(adapter), entries_(size_t(model.cluster().pp)), sums_(entries_.size()) {
    for (auto& sums : sums_) sums.resize(model.cluster().groups.size());
  }

  uint64_t advance(TokenId token) {
    uint64_t hidden = model_.embed(token, position_, adapter_);
    for (size_t stage = 0; stage < entries_.size(); ++stage) {
      entries_[stage].push_back({token, position_, hidden});
      hidden = model_.layer(int(stage), hidden, attended(stage));
    }
    ++position_;
    return hidden;
  }

 private:
  uint64_t attended(size_t stage) {
    uint64_t total = 0;
    for (size_t group = 0; group < sums_[stage].size(); ++group) {
      uint64_t& sum = sums_[stage][group];
      sum += model_.attend(group, position_, entries_[stage].back());
      const int32_t window = model_.cluster().groups[group].window;
      const int32_t gone = position_ - window;
      if (window > 0 && gone >= 0) sum -= model_.attend(group, gone, entries_[stage][size_t(gone)]);
      total += sum;
    }
    return total;
  }

  const FakeModel& model_;
  int32_t adapter_, position_ = 0;
  std::vector<std::vector<KvEntry>> entries_;  // [stage][position]
  std::vector<std::vector<uint64_t>> sums_;    // [stage][group]
};

}  // namespace

FakeModel::FakeModel(const ClusterInfo& cluster, uint64_t seed, int non_finite_period)
    : cluster_(cluster), seed_(seed), non_finite_period_(uint64_t(non_finite_period)) {}

uint64_t FakeModel::embed(TokenId token, int32_t position, int32_t adapter) const {
  return mix(mix(seed_, uint64_t(uint32_t(token))), uint64_t(uint32_t(position)) << 32 | uint32_t(adapter));
}

uint64_t FakeModel::attend(size_t group, int32_t position, const KvEntry& entry) const {
  const uint64_t token = uint64_t(uint32_t(entry.token)) << 32 | uint32_t(entry.position);
  return mix(mix(token, entry.input), uint64_t(group) << 32 | uint32_t(position));
}

uint64_t FakeModel::layer(int stage, uint64_t input, uint64_t attended) const {
  return mix(mix(input, attended), uint64_t(stage));
}

uint64_t FakeModel::count(TokenId id, bool in_prompt) const { return mix(uint64_t(uint32_t(id)), in_prompt ? 1 : 2); }

OutputResult FakeModel::judge(uint64_t hidden, TokenId id, int top) const {
  OutputResult result;
  result.non_finite = non_finite_period_ > 0 && mix(hidden, 3) % non_finite_period_ == 0;
  const auto logprob = [&](TokenId of) { return -float(mix(hidden, uint64_t(uint32_t(of)) + 11) % 4096) / 256; };
  result.token = {id, logprob(id)};
  result.rank = int32_t(mix(hidden, uint64_t(uint32_t(id))) % 7) + 1;
  for (int index = 0; index < top; ++index) {
    const auto other = TokenId((hidden + uint64_t(index)) % uint64_t(cluster_.vocab_size));
    result.top.push_back({other, logprob(other)});
  }
  return result;
}

bool FakeModel::Bans::allow(TokenId id) const {
  if (std::ranges::find(ids, id) != ids.end()) return false;
  return allowed.empty() || std::ranges::find(allowed, id) != allowed.end();
}

OutputResult FakeModel::draw(uint64_t hidden, const SlotSampling& sampling, int32_t position, uint64_t counts,
                             const Bans& bans, int top) const {
  uint64_t noise = mix(hidden, sampling.needs_counts() ? counts : 0);
  if (sampling.temperature > 0) {
    noise = mix(mix(noise, sampling.seed), uint64_t(uint32_t(sampling.choice)) << 32 | uint32_t(position));
  }
  const auto vocab = uint64_t(cluster_.vocab_size);
  for (uint64_t tried = 0; tried < vocab; ++tried) {
    const auto id = TokenId((noise + tried) % vocab);
    if (bans.allow(id)) return judge(hidden, id, top);
  }
  return judge(hidden, -1, top);
}

OutputResult FakeModel::candidates(uint64_t hidden, const SlotSampling& sampling, uint64_t counts, const Bans& bans,
                                   int count, int top) const {
  OutputResult result = judge(hidden, -1, top);
  const uint64_t seen = mix(hidden, sampling.needs_counts() ? counts : 0);
  for (TokenId id = 0; id < cluster_.vocab_size; ++id) {
    const float score = -float(mix(seen, uint64_t(uint32_t(id)) + 5) % 65536) / 8192;
    if (bans.allow(id)) result.candidates.push_back({id, score, judge(hidden, id, 0).token.logprob});
  }
  std::ranges::stable_sort(result.candidates, std::ranges::greater(), &Candidate::score);
  if (int(result.candidates.size()) > count) result.candidates.resize(size_t(count));
  return result;
}

OutputResult FakeModel::score(uint64_t hidden, TokenId target, int top) const { return judge(hidden, target, top); }

namespace {

std::vector<TokenId> suppressed_ids(const Request& request) {
  std::vector<TokenId> ids = request.sampling.stop_token_ids;
  ids.insert(ids.end(), request.eos_token_ids.begin(), request.eos_token_ids.end());
  return ids;
}

// Word for word what the field defines, with the whole history at hand.
FakeModel::Bans bans_behind(const Request& request, const std::vector<TokenId>& history) {
  const SamplingParams& sampling = request.sampling;
  FakeModel::Bans bans;
  bans.allowed = sampling.allowed_token_ids;
  if (int32_t(history.size() - request.prompt.size()) < sampling.min_new_tokens) bans.ids = suppressed_ids(request);
  const auto ends_with = [&](std::span<const TokenId> tail) {
    return tail.size() <= history.size() && std::equal(tail.rbegin(), tail.rend(), history.rbegin());
  };
  for (const auto& word : sampling.bad_words) {
    const bool one = word.size() == 1;
    if (one && std::ranges::find(request.eos_token_ids, word[0]) != request.eos_token_ids.end()) continue;
    if (!one && word.size() > history.size()) continue;
    if (ends_with(std::span(word).first(word.size() - 1))) bans.ids.push_back(word.back());
  }
  const auto n = size_t(sampling.no_repeat_ngram_size);
  for (size_t end = n; n > 0 && end <= history.size(); ++end)
    if (ends_with(std::span(history).subspan(end - n, n - 1))) bans.ids.push_back(history[end - 1]);
  return bans;
}

}  // namespace

ReferenceAnswer FakeModel::answer_beams(const Request& request) const {
  const SamplingParams& sampling = request.sampling;
  struct Beam {
    PlainRun run;
    std::vector<TokenId> history;
    uint64_t hidden = 0, counts = 0;
  };
  ReferenceAnswer answer;
  answer.choices.resize(size_t(sampling.n));
  Beam first{PlainRun(*this, request.adapter), {}};
  for (TokenId id : request.prompt) {
    answer.scores.push_back(first.history.empty() ? OutputResult{}
                                                  : score(first.hidden, id, std::max(0, sampling.prompt_logprobs)));
    first.hidden = first.run.advance(id);
    first.counts += count(id, true);
    first.history.push_back(id);
  }
  const SlotSampling slot{.repetition_penalty = sampling.repetition_penalty};
  const int32_t room = std::min(sampling.max_new_tokens, cluster_.max_model_len - int32_t(request.prompt.size()));
  BeamSearch search(request, room, nullptr);
  std::vector<Beam> beams{first};
  while (!beams.empty()) {
    std::vector<OutputResult> results;
    for (const Beam& beam : beams) {
      results.push_back(candidates(beam.hidden, slot, beam.counts, bans_behind(request, beam.history),
                                   search.candidates_per_beam(), std::max(0, sampling.top_logprobs)));
      answer.beams.emplace_back(beam.history.begin() + long(request.prompt.size()), beam.history.end());
      if (results.back().non_finite) answer.choices[0].fails = true;
    }
    if (answer.choices[0].fails) return answer;
    std::vector<Beam> next;
    for (const BeamSearch::Next& chosen : search.advance(results)) {
      Beam& beam = next.emplace_back(beams[size_t(chosen.parent)]);
      beam.hidden = beam.run.advance(chosen.id);
      beam.counts += count(chosen.id, false);
      beam.history.push_back(chosen.id);
    }
    beams = std::move(next);
  }
  const std::vector<FinishedBeam> best = search.best(size_t(sampling.n));
  if (best.size() < size_t(sampling.n)) {
    answer.choices[0].fails = true;
    return answer;
  }
  for (size_t index = 0; index < best.size(); ++index) {
    ReferenceChoice& choice = answer.choices[index];
    choice.finish = best[index].reason;
    for (const BeamToken& token : best[index].tokens) {
      choice.ids.push_back(token.token.id);
      OutputResult& result = choice.results.emplace_back();
      result.token = {token.token.id, token.token.logprob};
      for (const TokenScore& top : token.top) result.top.push_back({top.id, top.logprob});
    }
  }
  return answer;
}

ReferenceAnswer FakeModel::answer(const Request& request) const {
  if (request.sampling.is_beam_search()) return answer_beams(request);
  const SamplingParams& sampling = request.sampling;
  const int top = std::max(0, sampling.top_logprobs), score_top = std::max(0, sampling.prompt_logprobs);
  ReferenceAnswer answer;
  PlainRun prompt(*this, request.adapter);
  uint64_t hidden = 0, prompt_counts = 0;
  for (size_t position = 0; position < request.prompt.size(); ++position) {
    const TokenId id = request.prompt[position];
    answer.scores.push_back(position == 0 ? OutputResult{} : score(hidden, id, score_top));
    hidden = prompt.advance(id);
    prompt_counts += count(id, true);
  }
  const std::vector<TokenId> stops = end_ids(request);

  for (int32_t index = 0; index < sampling.n; ++index) {
    ReferenceChoice& choice = answer.choices.emplace_back();
    const SlotSampling slot{.seed = sampling.seed,
                            .choice = index,
                            .temperature = sampling.temperature,
                            .repetition_penalty = sampling.repetition_penalty};
    PlainRun run = prompt;
    uint64_t at = hidden, counts = prompt_counts;
    std::vector<TokenId> history = request.prompt;
    if (sampling.max_new_tokens == 0) choice.finish = FinishReason::length;
    while (choice.finish == FinishReason::none) {
      const auto position = int32_t(request.prompt.size() + choice.ids.size());
      OutputResult drawn = draw(at, slot, position, counts, bans_behind(request, history), top);
      const TokenId id = drawn.token.id;
      choice.fails = drawn.non_finite || id < 0;
      if (choice.fails) break;
      choice.ids.push_back(id);
      choice.results.push_back(std::move(drawn));
      counts += count(id, false);
      const bool full = position + 1 == cluster_.max_model_len || int32_t(choice.ids.size()) == sampling.max_new_tokens;
      choice.finish = std::ranges::binary_search(stops, id) ? FinishReason::stop : full ? FinishReason::length : FinishReason::none;
      at = run.advance(id);
      history.push_back(id);
    }
  }
  return answer;
}

}  // namespace trireme::test
