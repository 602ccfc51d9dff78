#include "launcher/load_fraction.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

RankState rank_in(Phase phase, uint32_t loaded = 0, int64_t step = -1) {
  RankState rank;
  rank.connected = true;
  rank.beat.phase = phase;
  rank.beat.loaded = loaded;
  rank.beat.step = step;
  return rank;
}

TEST(LoadFraction, IsThatOfTheRankThatHasComeLeastFar) {
  EXPECT_EQ(load_fraction({}), 0);
  EXPECT_EQ(load_fraction({RankState{}, rank_in(Phase::idle)}), 0);
  EXPECT_EQ(load_fraction({rank_in(Phase::joining)}), 0);
  EXPECT_DOUBLE_EQ(load_fraction({rank_in(Phase::warming), rank_in(Phase::loading, 400)}), 0.05 + 0.85 * 0.4);
  EXPECT_EQ(load_fraction({rank_in(Phase::warming), rank_in(Phase::idle)}), 0.9);
  EXPECT_EQ(load_fraction({rank_in(Phase::idle)}), 1);
}

TEST(StepPace, MeasuresStepsBetweenBeatsAndNoIdleTime) {
  StepPace pace;
  const TimePoint start{};
  const auto at = [&](int seconds) { return start + std::chrono::seconds(seconds); };
  EXPECT_FALSE(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 10), at(0)));
  EXPECT_FALSE(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 10), at(1)));
  EXPECT_EQ(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 14), at(2)), 0.5);
  EXPECT_FALSE(pace.seconds_per_step(rank_in(Phase::idle, 1000, 14), at(3)));
  EXPECT_FALSE(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 15), at(60))) << "it was idle";
  EXPECT_EQ(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 17), at(61)), 0.5);
  EXPECT_FALSE(pace.seconds_per_step(rank_in(Phase::stepping, 1000, 0), at(62))) << "another attempt";
}

}  // namespace
}  // namespace trireme
