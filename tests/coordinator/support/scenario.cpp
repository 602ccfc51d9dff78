#include "tests/coordinator/support/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "tests/coordinator/support/fake_model.h"

namespace trireme::test {
namespace {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  int between(int low, int high) { return low + int(random_() % uint64_t(high - low + 1)); }
  bool one_in(int n) { return between(1, n) == 1; }
  template <typename T>
  T any(std::initializer_list<T> values) {
    return *(values.begin() + between(0, int(values.size()) - 1));
  }
  std::vector<TokenId> ids(int count, int64_t vocab) {
    std::vector<TokenId> ids;
    for (int index = 0; index < count; ++index) ids.push_back(between(0, int(vocab) - 1));
    return ids;
  }

 private:
  std::mt19937_64 random_;
};

ClusterInfo make_cluster(Dice& dice) {
  ClusterInfo cluster;
  cluster.pp = cluster.world = dice.any({1, 1, 2, 2, 3, 4});
  cluster.num_slots = dice.any({1, 2, 3, 4, 6, 8});
  cluster.max_batched_tokens = dice.any({1, 3, 8, 16, 32});
  cluster.max_logit_rows = dice.any({1, 2, 4, 8, 16});
  cluster.max_model_len = dice.between(8, 64);
  cluster.max_blocks_per_slot = cluster.max_model_len;
  cluster.vocab_size = dice.between(4, 120);
  const bool tight = dice.one_in(2);
  for (int group = dice.any({1, 1, 1, 2}); group > 0; --group) {
    KvGroupInfo info{.block_size = dice.any({1, 2, 3, 4, 8})};
    info.window = dice.one_in(4) ? dice.between(1, 12) : 0;
    const int sequences = tight ? 1 : dice.between(2, 6);
    info.num_blocks =
        std::max(1, sequences * (cluster.max_model_len + info.block_size - 1) / info.block_size + dice.between(-2, 3));
    cluster.groups.push_back(info);
  }
  return cluster;
}

void make_beams(Dice& dice, SamplingParams& sampling) {
  sampling.beam_width = dice.any({2, 2, 3, 4});
  sampling.n = dice.between(1, sampling.beam_width);
  sampling.length_penalty = dice.any({0.0f, 0.6f, 1.0f, 1.4f, -1.0f});
  sampling.early_stopping = dice.any({EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never});
}

SamplingParams make_sampling(Dice& dice, const ClusterInfo& cluster) {
  SamplingParams sampling;
  sampling.temperature = dice.any({0.0f, 1.0f, 1.0f});
  sampling.repetition_penalty = dice.any({1.0f, 1.0f, 1.3f});
  sampling.seed = uint64_t(dice.between(0, 1 << 30));
  sampling.n = dice.any({1, 1, 1, 2, 3, 4});
  if (!dice.one_in(10)) sampling.n = std::min({sampling.n, cluster.num_slots, cluster.max_logit_rows});
  sampling.max_new_tokens = dice.one_in(2) ? dice.between(1, 8) : dice.between(1, 40);
  sampling.min_new_tokens = dice.one_in(3) ? dice.between(0, sampling.max_new_tokens) : 0;
  sampling.top_logprobs = dice.any({-1, -1, 0, 2});
  sampling.prompt_logprobs = dice.one_in(5) ? dice.any({0, 2}) : -1;
  sampling.ignore_eos = dice.one_in(4);
  sampling.stop_token_ids = dice.ids(dice.any({0, 0, 1, 2}), cluster.vocab_size);
  sampling.no_repeat_ngram_size = dice.any({0, 0, 0, 0, 1, 2, 3});
  for (int words = dice.any({0, 0, 0, 1, 3}); words > 0; --words)
    sampling.bad_words.push_back(dice.ids(dice.any({1, 2, 3}), cluster.vocab_size));
  if (dice.one_in(8)) sampling.allowed_token_ids = dice.ids(dice.between(1, std::min(6, int(cluster.vocab_size))), cluster.vocab_size);
  if (dice.one_in(3)) make_beams(dice, sampling);
  if (!sampling.is_beam_search() && dice.one_in(12)) {  // only scores its prompt
    sampling.n = 1;
    sampling.max_new_tokens = sampling.min_new_tokens = 0;
    sampling.prompt_logprobs = dice.any({-1, 0, 2});
  }
  return sampling;
}

// What an earlier attempt could have emitted: beginnings of the true answer. One choice at least is unfinished.
void make_replay(Dice& dice, Request& request, const ReferenceAnswer& answer) {
  for (int32_t choice = 0; choice < request.sampling.n; ++choice) {
    const ReferenceChoice& whole = answer.choices[size_t(choice)];
    EmittedChoice emitted{choice, false, {}};
    const auto count = dice.between(0, int(whole.ids.size()));
    emitted.ids.assign(whole.ids.begin(), whole.ids.begin() + count);
    emitted.finished = choice > 0 && count == int(whole.ids.size()) && !whole.fails && dice.one_in(2);
    request.emitted.push_back(std::move(emitted));
  }
}

Request make_request(Dice& dice, RequestId id, const Scenario& scenario, const std::vector<std::vector<TokenId>>& texts,
                     const FakeModel& model) {
  const ClusterInfo& cluster = scenario.cluster;
  Request request;
  request.id = id;
  const auto& text = texts[size_t(dice.between(0, int(texts.size()) - 1))];
  const int length = dice.between(1, std::min(28, cluster.max_model_len - 1));
  const int shared = dice.between(0, length);
  request.prompt.assign(text.begin(), text.begin() + shared);
  for (TokenId token : dice.ids(length - shared, cluster.vocab_size)) request.prompt.push_back(token);
  request.sampling = make_sampling(dice, cluster);
  request.eos_token_ids = dice.ids(dice.any({0, 1}), cluster.vocab_size);
  request.adapter = dice.any({0, 0, 0, 1});
  request.cache_salt = dice.any({uint64_t(0), uint64_t(0), uint64_t(0), uint64_t(7)});
  request.priority = dice.any({0, 0, 0, 1, -1});
  if (dice.one_in(6)) make_replay(dice, request, model.answer(request));
  return request;
}

}  // namespace

Scenario make_scenario(uint64_t seed) {
  Dice dice(seed * 2654435761u + 17);
  Scenario scenario;
  scenario.cluster = make_cluster(dice);
  scenario.options.prefill_chunk = dice.any({0, 1, 2, 5, 12});
  scenario.options.enable_prefix_caching = !dice.one_in(5);
  scenario.options.max_waiting = dice.one_in(8) ? 3 : 10000;
  scenario.non_finite_period = dice.one_in(5) ? 150 : 0;
  const FakeModel model(scenario.cluster, seed, scenario.non_finite_period);

  std::vector<std::vector<TokenId>> texts;
  for (int count = dice.between(1, 3); count > 0; --count) texts.push_back(dice.ids(48, scenario.cluster.vocab_size));
  const int rounds = dice.any({0, 10, 40});
  const auto last = RequestId(dice.between(2, 14));
  for (RequestId id = 1; id <= last; ++id) {
    const int round = dice.between(0, rounds);
    scenario.commands.push_back({round, SubmitCommand{make_request(dice, id, scenario, texts, model)}});
    if (dice.one_in(6)) scenario.commands.push_back({round + dice.between(0, 12), CancelCommand{id}});
  }
  const bool drain = !dice.one_in(8);
  const int end = dice.one_in(6) ? dice.between(rounds / 2, rounds) : rounds + 13;
  scenario.commands.push_back({end, ShutdownCommand{drain}});
  std::ranges::stable_sort(scenario.commands, {}, &TimedCommand::round);
  scenario.options.batching.policy =
      dice.any({BatchingPolicy::continuous, BatchingPolicy::dynamic, BatchingPolicy::static_});
  scenario.options.batching.size = dice.any({0, 0, 1, 2, 3, 5});
  scenario.options.batching.wait = std::chrono::milliseconds(dice.any({0, 20, 100}));
  scenario.options.min_prefill_share = dice.any({0, 1, 4, 256});
  scenario.options.mixed_prefill = dice.any({0, 0, 1, 4, 10});
  scenario.options.mixed_step_multiple = dice.any({1, 1, 4, 7});
  return scenario;
}

std::string describe(const Scenario& scenario) {
  const ClusterInfo& cluster = scenario.cluster;
  std::string text =
      fmt::format("pp {} slots {} tokens {} logit rows {} model length {} vocab {} chunk {} share {} mixed {}, {} caching {}\n", cluster.pp,
                  cluster.num_slots, cluster.max_batched_tokens, cluster.max_logit_rows, cluster.max_model_len,
                  cluster.vocab_size, scenario.options.prefill_chunk, scenario.options.min_prefill_share, scenario.options.mixed_prefill,
                  scenario.options.mixed_step_multiple,
                  scenario.options.enable_prefix_caching);
  const BatchingOptions& batching = scenario.options.batching;
  text += fmt::format("  batching {}, {} sequences, {} ms\n", batching_policy_name(batching.policy), batching.size,
                      batching.wait.count());
  for (const KvGroupInfo& group : cluster.groups) {
    text += fmt::format("  group: {} blocks of {}, window {}\n", group.num_blocks, group.block_size, group.window);
  }
  for (const TimedCommand& timed : scenario.commands) {
    if (const auto* submit = std::get_if<SubmitCommand>(&timed.command)) {
      const Request& request = submit->request;
      text += fmt::format(
          "  round {}: request {} prompt {} n {} beams {} new {}..{} priority {} salt {} adapter {} replayed {} scores {}\n",
          timed.round, request.id, request.prompt.size(), request.sampling.n, request.sampling.beam_width,
          request.sampling.min_new_tokens,
          request.sampling.max_new_tokens, request.priority, request.cache_salt, request.adapter,
          !request.emitted.empty(), request.sampling.prompt_logprobs);
    } else if (const auto* cancel = std::get_if<CancelCommand>(&timed.command)) {
      text += fmt::format("  round {}: cancel {}\n", timed.round, cancel->request);
    } else {
      text +=
          fmt::format("  round {}: shutdown, drain {}\n", timed.round, std::get<ShutdownCommand>(timed.command).drain);
    }
  }
  return text;
}

}  // namespace trireme::test
