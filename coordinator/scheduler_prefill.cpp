// How much of the prompts' work a plan takes.
//
// Where sequences decode, their next tokens come when the whole plan is done: 8,192 tokens of prompts are 190 ms between
// two tokens of every stream (8B, H200), and in a steady load each prompt's end brings the next prompt. In pieces prompts
// take little longer in all, since decode rows ride along at the price of tokens, until pieces are too small: of 256
// streams 1,536 tokens a plan were 5 % more throughput than 1,024 (docs/operations.md).
//
// Where several plans are in flight, a stage waits for the one before it: time is lost whenever a plan is longer than the
// one that follows it, and while the pipeline fills and drains: m equal plans take m + pp - 1 stage times
// (docs/scaling.md).

#include <algorithm>
#include <cmath>

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
int32_t Scheduler::prefill_share() const {
  const int64_t stages = cluster_.pp, least = options_.min_prefill_share;
  int64_t most = cluster_.max_batched_tokens;
  const bool limited = options_.mixed_prefill > 0 && fault_ != PlantedFault::mixed_limit_ignored;
  if (limited && somebody_waits_for_tokens())
    most = std::min<int64_t>(most, options_.mixed_prefill);
  if (stages == 1) return int32_t(most);
  const int64_t tokens = tokens_to_prefill(stages * most * 16);
  const double own = double(least) / 4;
  const auto best = std::max(int64_t(std::sqrt(double(tokens) * own / double(stages - 1))), least);
  const int64_t largest = std::clamp(best, int64_t(1), most);
  const int64_t plans = std::max(stages, (tokens + largest - 1) / largest), even = (tokens + plans - 1) / plans;
  const int64_t before = in_flight_.empty() ? 0 : last_prefill_;
  return int32_t(std::clamp(std::max({even, before, least}), int64_t(1), most));
}

}  // namespace trireme
