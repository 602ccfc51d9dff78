#include "coordinator/token_bans.h"

#include <algorithm>
#include <limits>
#include <map>

namespace trireme {
namespace {

// Every id that followed an earlier occurrence of the last n - 1 ids.
void ban_ngrams(std::vector<TokenId>& banned, std::span<const TokenId> history, size_t n) {
  if (history.size() + 1 < n) return;
  const std::span<const TokenId> tail = history.last(n - 1);
  for (size_t at = 0; at + n <= history.size(); ++at)
    if (std::ranges::equal(history.subspan(at, n - 1), tail)) banned.push_back(history[at + n - 1]);
}

// A bad word's last id where the ids before it stand at the end. Like the reference, a word longer than the history
// is not looked at, even if only its last id is missing.
void ban_word(std::vector<TokenId>& banned, std::span<const TokenId> history, const std::vector<TokenId>& word) {
  if (word.size() < 2 || word.size() > history.size()) return;
  if (std::ranges::equal(history.last(word.size() - 1), std::span(word).first(word.size() - 1)))
    banned.push_back(word.back());
}

}  // namespace

bool has_moving_bans(const Request& request) {
  const SamplingParams& sampling = request.sampling;
  return sampling.no_repeat_ngram_size > 0 ||
         std::ranges::any_of(sampling.bad_words, [](const auto& word) { return word.size() > 1; });
}

std::vector<TokenId> moving_bans(const Request& request, std::span<const TokenId> history) {
  std::vector<TokenId> banned;
  const SamplingParams& sampling = request.sampling;
  if (sampling.no_repeat_ngram_size > 0) ban_ngrams(banned, history, size_t(sampling.no_repeat_ngram_size));
  for (const std::vector<TokenId>& word : sampling.bad_words) ban_word(banned, history, word);
  std::ranges::sort(banned);
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  return banned;
}

SlotLists standing_lists(const Request& request) {
  const SamplingParams& sampling = request.sampling;
  std::map<TokenId, float> biases;
  for (const TokenBias& bias : sampling.logit_bias) biases[bias.id] = bias.bias;
  for (const std::vector<TokenId>& word : sampling.bad_words) {
    // The reference never bans an end-of-sequence id as a bad word.
    const bool ends = word.size() == 1 && std::ranges::count(request.eos_token_ids, word[0]) > 0;
    if (word.size() == 1 && !ends) biases[word[0]] = -std::numeric_limits<float>::infinity();
  }
  SlotLists lists;
  for (const auto& [id, value] : biases) {
    lists.bias_ids.push_back(id);
    lists.bias_values.push_back(value);
  }
  lists.allowed = sampling.allowed_token_ids;
  return lists;
}

}  // namespace trireme
