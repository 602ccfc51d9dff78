#include "gateway/finished_prompt.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace trireme {
namespace {

// OpenAI's rule for best_of; nothing generated is the worst.
double mean_logprob(const ChoiceRecord& record) {
  return record.ids.empty() ? -std::numeric_limits<double>::infinity()
                            : record.cumulative_logprob() / double(record.ids.size());
}

}  // namespace

void cut(ChoiceRecord& record, size_t tokens) {
  if (record.ids.size() <= tokens) return;
  record.ids.resize(tokens);
  record.logprobs.resize(tokens);
  record.ranks.resize(tokens);
  record.top.resize(tokens);
}

void keep_best(std::vector<FinishedChoice>& choices, size_t count) {
  std::ranges::stable_sort(choices, std::greater{}, [](const auto& choice) { return mean_logprob(choice.record); });
  choices.resize(std::min(count, choices.size()));
}

std::string dropped_space(const Tokenizer& tokenizer, int32_t first) {
  const std::string whole = tokenizer.token_bytes(first), alone = tokenizer.first_token_bytes(first);
  return whole.size() > alone.size() && whole.ends_with(alone) ? whole.substr(0, whole.size() - alone.size()) : "";
}

}  // namespace trireme
