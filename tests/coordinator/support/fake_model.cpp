#include "tests/coordinator/support/fake_model.h"

#include <algorithm>
#include <bit>
#include <set>

namespace trireme::testing {
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
  result.tokens.push_back({id, logprob(id)});
  result.rank = int32_t(mix(hidden, uint64_t(uint32_t(id))) % 7) + 1;
  for (int index = 0; index < top; ++index) {
    const auto other = TokenId((hidden + uint64_t(index)) % uint64_t(cluster_.vocab_size));
    result.top.push_back({other, logprob(other)});
  }
  return result;
}

OutputResult FakeModel::draw(uint64_t hidden, const SlotSampling& sampling, int32_t position, uint64_t counts,
                             const std::vector<TokenId>& suppressed, int top) const {
  uint64_t noise = mix(hidden, sampling.needs_counts() ? counts : 0);
  if (sampling.temperature > 0) {
    noise = mix(mix(noise, sampling.seed), uint64_t(uint32_t(sampling.choice)) << 32 | uint32_t(position));
  }
  const auto vocab = uint64_t(cluster_.vocab_size);
  for (uint64_t tried = 0; tried < vocab; ++tried) {
    const auto id = TokenId((noise + tried) % vocab);
    if (std::ranges::find(suppressed, id) == suppressed.end()) return judge(hidden, id, top);
  }
  return judge(hidden, -1, top);
}

OutputResult FakeModel::score(uint64_t hidden, TokenId target, int top) const { return judge(hidden, target, top); }

ReferenceAnswer FakeModel::answer(const Request& request) const {
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
  std::set<TokenId> stops(sampling.stop_token_ids.begin(), sampling.stop_token_ids.end());
  std::vector<TokenId> suppressed(stops.begin(), stops.end());
  suppressed.insert(suppressed.end(), request.eos_token_ids.begin(), request.eos_token_ids.end());
  if (!sampling.ignore_eos) stops.insert(request.eos_token_ids.begin(), request.eos_token_ids.end());

  for (int32_t index = 0; index < sampling.n; ++index) {
    ReferenceChoice& choice = answer.choices.emplace_back();
    const SlotSampling slot{.seed = sampling.seed,
                            .choice = index,
                            .temperature = sampling.temperature,
                            .repetition_penalty = sampling.repetition_penalty};
    PlainRun run = prompt;
    uint64_t at = hidden, counts = prompt_counts;
    while (choice.finish == FinishReason::none) {
      const auto position = int32_t(request.prompt.size() + choice.ids.size());
      const bool early = int32_t(choice.ids.size()) < sampling.min_new_tokens;
      OutputResult drawn = draw(at, slot, position, counts, early ? suppressed : std::vector<TokenId>{}, top);
      const TokenId id = drawn.tokens[0].id;
      choice.fails = drawn.non_finite || id < 0;
      if (choice.fails) break;
      choice.ids.push_back(id);
      choice.results.push_back(std::move(drawn));
      counts += count(id, false);
      const bool full = position + 1 == cluster_.max_model_len || int32_t(choice.ids.size()) == sampling.max_new_tokens;
      choice.finish = stops.contains(id) ? FinishReason::stop : full ? FinishReason::length : FinishReason::none;
      at = run.advance(id);
    }
  }
  return answer;
}

}  // namespace trireme::testing
