#include "coordinator/beam_search.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "text/detokenizer.h"

namespace trireme {
namespace {

constexpr float kNever = -1e9f;  // the reference's "minus infinity" of scores

// The best `count` by score; equal scores stay in order.
template <typename T>
void keep_best(std::vector<T>& items, size_t count) {
  std::ranges::stable_sort(items, std::ranges::greater(), &T::score);
  if (items.size() > count) items.resize(count);
}

// A token gives a byte of text at least, but for the last bytes of a character and for special tokens: so many more are
// looked at.
constexpr size_t kIdsBesideStop = 16;

// The stop string that `id` completes behind `before`; of several the one that begins first.
std::optional<std::string> completed_stop(const Tokenizer& tokenizer, const std::vector<std::string>& stops,
                                          std::span<const TokenId> before, TokenId id) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (TokenId earlier : before) text += detokenizer.add(earlier);
  const size_t known = text.size();
  text += detokenizer.add(id);
  size_t first = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : stops) {
    const size_t from = known + 1 > stop.size() ? known + 1 - stop.size() : 0;
    const size_t at = text.find(stop, from);
    if (at >= first) continue;
    first = at;
    found = &stop;
  }
  return found ? std::optional(*found) : std::nullopt;
}

}  // namespace

BeamSearch::BeamSearch(const Request& request, int32_t max_new_tokens, const Tokenizer* tokenizer)
    : end_ids_(end_ids(request)),
      width_(request.sampling.beam_width),
      num_candidates_(int32_t(beam_candidates(request))),
      max_new_tokens_(max_new_tokens),
      length_penalty_(request.sampling.length_penalty),
      early_stopping_(request.sampling.early_stopping),
      stops_(request.beam_stop),
      tokenizer_(tokenizer),
      running_(1),
      finished_(size_t(width_)) {
  for (Finished& place : finished_) place.score = kNever;
  CHECK(tokenizer || stops_.empty()) << "stop strings of a beam search need the tokenizer";
}

std::vector<BeamSearch::Next> BeamSearch::advance(std::span<const OutputResult> results) {
  CHECK_EQ(results.size(), running_.size()) << "results of a beam search's step";
  const std::vector<Extension> extensions = best_extensions(results);
  const std::vector<Extension> chosen = choose_running(extensions);
  keep_finished(extensions, results);

  std::vector<Beam> running;
  std::vector<Next> next;
  for (const Extension& extension : chosen) {
    running.push_back({extend(extension, results), extension.score});
    next.push_back({extension.parent, extension.candidate.id});
  }
  running_ = std::move(running);
  ++length_;
  improvable_ = improvable_ && may_improve();
  const bool over = !improvable_ || (early_stopping_ == EarlyStopping::yes && all_finished()) ||
                    std::ranges::all_of(extensions, [](const Extension& e) { return e.ends != FinishReason::none; });
  if (over) next.clear();
  return next;
}

std::vector<BeamSearch::Extension> BeamSearch::best_extensions(std::span<const OutputResult> results) const {
  std::vector<Extension> extensions;
  for (size_t beam = 0; beam < results.size(); ++beam)
    for (const Candidate& candidate : results[beam].candidates)
      extensions.push_back({int32_t(beam), candidate, candidate.score + running_[beam].score, {}, {}});
  keep_best(extensions, size_t(num_candidates_));
  std::vector<std::vector<TokenId>> before;
  for (const Beam& beam : running_) before.push_back(last_ids(beam));
  for (Extension& extension : extensions) judge_end(extension, before[size_t(extension.parent)]);
  return extensions;
}

// As many as a stop string can begin in; none where there is no stop string.
std::vector<TokenId> BeamSearch::last_ids(const Beam& beam) const {
  size_t longest = 0;
  for (const std::string& stop : stops_) longest = std::max(longest, stop.size());
  std::vector<TokenId> ids;
  if (longest == 0) return ids;
  const size_t most = longest + kIdsBesideStop;
  for (const Node* node = beam.last.get(); node && ids.size() < most; node = node->before.get())
    ids.push_back(node->token.token.id);
  std::ranges::reverse(ids);
  return ids;
}

void BeamSearch::judge_end(Extension& extension, std::span<const TokenId> before) const {
  const TokenId id = extension.candidate.id;
  std::optional<std::string> stop;
  if (!stops_.empty()) stop = completed_stop(*tokenizer_, stops_, before, id);
  if (std::ranges::binary_search(end_ids_, id) || stop)
    extension.ends = FinishReason::stop;
  else if (length_ + 1 >= max_new_tokens_)
    extension.ends = FinishReason::length;
  if (stop) extension.stop_text = std::move(*stop);
}

// Where too few go on, as a stop text on every candidate can leave it, the reference lets ended ones run on with a
// hopeless score; so does this.
std::vector<BeamSearch::Extension> BeamSearch::choose_running(const std::vector<Extension>& extensions) const {
  std::vector<Extension> running = extensions;
  for (Extension& extension : running)
    if (extension.ends != FinishReason::none) extension.score += kNever;
  keep_best(running, size_t(width_));
  return running;
}

float BeamSearch::length_divisor(int32_t length) const {
  return float(std::pow(double(length), double(length_penalty_)));
}

void BeamSearch::keep_finished(const std::vector<Extension>& extensions, std::span<const OutputResult> results) {
  if (!improvable_ || (early_stopping_ == EarlyStopping::yes && all_finished())) return;
  const float divisor = length_divisor(length_ + 1);
  std::vector<Finished> merged = finished_;
  for (size_t rank = 0; rank < std::min(extensions.size(), size_t(width_)); ++rank) {
    const Extension& extension = extensions[rank];
    if (extension.ends == FinishReason::none) continue;
    merged.push_back({extend(extension, results), extension.score / divisor, extension.ends, extension.stop_text});
  }
  keep_best(merged, size_t(width_));
  finished_ = std::move(merged);
}

bool BeamSearch::all_finished() const {
  return std::ranges::all_of(finished_, [](const Finished& place) { return place.last != nullptr; });
}

// Could the best running beam still beat the worst finished one? By the length it has, or, for "never" with a penalty
// that favours long ones, by the greatest it can get.
bool BeamSearch::may_improve() const {
  if (running_.empty()) return false;
  const bool by_longest = early_stopping_ == EarlyStopping::never && length_penalty_ > 0;
  const float best = running_.front().score / length_divisor(by_longest ? max_new_tokens_ : length_);
  const float worst = finished_.back().score;
  return std::ranges::any_of(finished_, [&](const Finished& place) { return best > (place.last ? worst : kNever); });
}

std::shared_ptr<const BeamSearch::Node> BeamSearch::extend(const Extension& extension,
                                                           std::span<const OutputResult> results) const {
  auto node = std::make_shared<Node>();
  node->before = running_[size_t(extension.parent)].last;
  node->token.token = {extension.candidate.id, extension.candidate.logprob};
  for (const TokenLogprob& top : results[size_t(extension.parent)].top) node->token.top.push_back({top.id, top.logprob});
  return node;
}

std::vector<FinishedBeam> BeamSearch::best(size_t n) const {
  std::vector<FinishedBeam> best;
  for (const Finished& place : finished_) {
    if (best.size() == n || !place.last) break;
    FinishedBeam& beam = best.emplace_back();
    for (const Node* node = place.last.get(); node; node = node->before.get()) beam.tokens.push_back(node->token);
    std::ranges::reverse(beam.tokens);
    beam.score = place.score;
    beam.reason = place.reason;
    beam.stop_text = place.stop_text;
  }
  return best;
}

}  // namespace trireme
