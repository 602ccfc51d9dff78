#pragma once
// What ranks' beats say about a start and about the pace of steps.

#include <optional>
#include <vector>

#include "gateway/rank_watch.h"

namespace trireme {

// 0 to 1, of the rank that has come least far. Joining and warming up are small shares beside the weights.
double load_fraction(const std::vector<RankState>& ranks);

// Seconds per step of one rank, from one beat to the next.
class StepPace {
 public:
  // None while no step has ended since the last answer, or while the rank was idle in between.
  std::optional<double> seconds_per_step(const RankState& rank, TimePoint now);

 private:
  int64_t step_ = -1;
  TimePoint since_;
};

}  // namespace trireme
