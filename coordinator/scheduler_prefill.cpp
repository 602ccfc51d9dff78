// How much of the prompts' work a plan takes.
//
// Where sequences decode, their next tokens come when the whole plan is done: 8,192 tokens are 190 ms between two tokens
// of every stream (8B, H200), and in a steady load each prompt's end brings the next prompt. In smaller pieces prompts
// take as long in all, and decode rows ride along at the price of tokens. The limit is on all of a plan's tokens, not on
// those of prompts: matrix products are quickest at sizes that fill the device's processors evenly, 1,024 and 2,048.
//
// Where several plans are in flight, a stage waits for the one before it: time is lost whenever a plan is longer than the
// one that follows it, and while the pipeline fills and drains: m equal plans take m + pp - 1 stage times
// (docs/scaling.md).

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "coordinator/scheduler.h"

namespace trireme {

// A beam search shows nothing before its end.
bool Scheduler::somebody_waits_for_tokens() const {
  return std::ranges::any_of(running_, [](const auto& entry) {
    const Sequence& sequence = *entry.second;
    return sequence.can_decode() && !sequence.is_beam;
  });
}

// Of prompts in work and of waiting ones that slots are free for; prefix hits are not known yet and count. Stops
// counting at `enough`.
int64_t Scheduler::tokens_to_prefill(int64_t enough) const {
  int64_t tokens = 0;
  for (const auto& [order, sequence] : running_) {
    if (sequence->can_prefill()) tokens += sequence->prefill_length() - sequence->computed;
  }
  int32_t slots = slots_.available();
  for (auto at = waiting_.begin(); at != waiting_.end() && slots > 0 && tokens < enough; ++at, --slots)
    tokens += at->second->prefill_length();
  return tokens;
}

// Many plans fill the pipeline soon, but each costs `own` tokens' time besides its tokens: m plans of W tokens take
// (m + pp - 1) (own + W / m), least at W / m = sqrt(W own / (pp - 1)). At least pp plans, evenly. Plans after the first
// find less left: their share is not below that of the plan before them, while that is in flight.
int32_t Scheduler::prefill_share(bool mixed) const {
  const int64_t stages = cluster_.pp, least = options_.min_prefill_share;
  const int64_t most = std::min(cluster_.max_batched_tokens, mixed ? options_.mixed_step_tokens : INT32_MAX);
  if (stages == 1) return int32_t(most);
  const int64_t tokens = tokens_to_prefill(stages * most * 16);
  const double own = double(least) / 4;
  const auto best = std::max(int64_t(std::sqrt(double(tokens) * own / double(stages - 1))), least);
  const int64_t largest = std::clamp(best, int64_t(1), most);
  const int64_t plans = std::max(stages, (tokens + largest - 1) / largest), even = (tokens + plans - 1) / plans;
  const int64_t before = in_flight_.empty() ? 0 : last_prefill_;
  return int32_t(std::clamp(std::max({even, before, least}), int64_t(1), most));
}

// After the decode rows. What is left for prompts may be little where many decode, but never nothing.
void Scheduler::limit_mixed(Draft& draft) const {
  if (!draft.mixed || fault_ == PlantedFault::mixed_limit_ignored) return;
  const int32_t limit = options_.mixed_step_tokens, rows = int32_t(draft.plan.rows.size());
  draft.prefill_left = std::min(draft.prefill_left, std::max({limit - rows, limit / 4, 1}));
}

}  // namespace trireme
