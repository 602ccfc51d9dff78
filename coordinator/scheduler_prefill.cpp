// How much of the prompts' work a plan takes.
//
// Where sequences decode, their next tokens come when the whole plan is done: 8,192 tokens of prompts are 190 ms between
// two tokens of every stream (8B, H200), and in a steady load each prompt's end brings the next prompt. In pieces prompts
// take little longer in all, since decode rows ride along at the price of tokens. How long a plan takes goes up in steps:
// matrix products are cut into tiles, and a device that takes one wave of them for 1,024 tokens takes two for 1,025 (25 ms
// against 36 on that H200; 2,048 and 3,072 likewise). So the limit is rounded up until the whole plan ends below such a
// step: its last tokens cost little (docs/operations.md).
//
// Where several plans are in flight, a stage waits for the one before it: time is lost whenever a plan is longer than the
// one that follows it, and while the pipeline fills and drains: m equal plans take m + pp - 1 stage times
// (docs/scaling.md).

#include <algorithm>
#include <cmath>

#include "coordinator/scheduler.h"

namespace trireme {

// Of the next plan. No limit where nobody waits for tokens: a beam search shows nothing before its end.
int64_t Scheduler::mixed_limit() const {
  const int64_t budget = cluster_.max_batched_tokens, multiple = options_.mixed_step_multiple;
  if (options_.mixed_prefill == 0 || fault_ == PlantedFault::mixed_limit_ignored) return budget;
  int64_t rows = 0;
  bool somebody_waits = false;
  for (const auto& [order, sequence] : running_) {
    if (!sequence->can_decode()) continue;
    ++rows;
    somebody_waits |= !sequence->is_beam;
  }
  if (!somebody_waits) return budget;
  rows = (rows + cluster_.pp - 1) / cluster_.pp;
  const int64_t whole = (rows + options_.mixed_prefill + multiple - 1) / multiple * multiple;
  return std::min(budget, whole - rows);
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
  const int64_t most = mixed_limit();
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
