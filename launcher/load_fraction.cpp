#include "launcher/load_fraction.h"

#include <algorithm>

namespace trireme {
namespace {

constexpr double kJoined = 0.05, kLoaded = 0.9;

double fraction_of(const RankState& rank) {
  if (!rank.connected) return 0;
  switch (rank.beat.phase) {
    case Phase::starting:
    case Phase::joining:
      return 0;
    case Phase::loading:
      return kJoined + (kLoaded - kJoined) * std::min(rank.beat.loaded, uint32_t(1000)) / 1000;
    case Phase::warming:
      return kLoaded;
    default:
      return 1;
  }
}

}  // namespace

double load_fraction(const std::vector<RankState>& ranks) {
  double least = 1;
  for (const RankState& rank : ranks) least = std::min(least, fraction_of(rank));
  return ranks.empty() ? 0 : least;
}

std::optional<double> StepPace::seconds_per_step(const RankState& rank, TimePoint now) {
  if (rank.beat.phase != Phase::stepping || rank.beat.step < step_) {
    step_ = -1;
    return std::nullopt;
  }
  if (rank.beat.step == step_) return std::nullopt;
  std::optional<double> seconds;
  if (step_ >= 0) seconds = std::chrono::duration<double>(now - since_).count() / double(rank.beat.step - step_);
  step_ = rank.beat.step;
  since_ = now;
  return seconds;
}

}  // namespace trireme
