#include "gateway/rank_watch.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Two ranks and a clock that only the test moves.
class RankWatchTest : public testing::Test {
 protected:
  RankWatchTest() : now_(seconds(1000)), watch_(2, WatchLimits{}, now_) {}

  void connect() {
    for (int rank : {0, 1})
      watch_.on_hello(rank, Hello{"key", rank, 2, 100 + rank, "host" + std::to_string(rank), ""}, now_);
  }
  void beat(int rank, Phase phase, uint64_t counter, int64_t step = 3) {
    watch_.on_beat(rank, {phase, step, counter, "attention", 0, waited_ns_}, now_);
  }
  // Both ranks beat every 100 ms for `duration`, moving or not; the first verdict, if any.
  std::optional<EngineFault> run(Duration duration, Phase phase, bool moving) {
    for (const TimePoint end = now_ + duration; now_ < end;) {
      now_ += milliseconds(100);
      if (moving) ++counter_;
      for (int rank : {0, 1}) beat(rank, phase, counter_);
      if (auto fault = watch_.judge(now_)) return fault;
    }
    return std::nullopt;
  }

  TimePoint now_;
  uint64_t waited_ns_ = 0;
  uint64_t counter_ = 1;
  RankWatch watch_;
};

TEST_F(RankWatchTest, LeavesRanksThatBeatAndMoveAlone) {
  connect();
  EXPECT_FALSE(run(seconds(300), Phase::stepping, true));
  EXPECT_FALSE(run(seconds(300), Phase::idle, false));  // idle ranks need not move
}

TEST_F(RankWatchTest, EndOfFileIsDeathUnlessTheRankSaidGoodbye) {
  connect();
  watch_.on_stopped(1);
  watch_.on_ended(1);
  EXPECT_FALSE(watch_.judge(now_));
  beat(0, Phase::stepping, 5, 18);
  watch_.on_ended(0);
  const auto fault = watch_.judge(now_);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::ended);
  EXPECT_EQ(fault->rank, 0);
  EXPECT_EQ(fault->summary,
            "the engine failed: rank 0 on host0 (pid 100), stepping, step 18, last operation attention: died (its "
            "connection ended)");
  EXPECT_EQ(fault->details.size(), 2u);
}

TEST_F(RankWatchTest, SilenceForOneAndAHalfSecondsIsAStoppedRank) {
  connect();
  for (int i = 0; i < 15; ++i) {
    now_ += milliseconds(100);
    beat(0, Phase::idle, 1);
    EXPECT_FALSE(watch_.judge(now_)) << i;
  }
  now_ += milliseconds(100);
  beat(0, Phase::idle, 1);
  const auto fault = watch_.judge(now_);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::silent);
  EXPECT_EQ(fault->rank, 1);
}

TEST_F(RankWatchTest, AFrontThatWasItselfStoppedBlamesNobody) {
  connect();
  now_ += seconds(4);  // the front slept; what the ranks sent waits in its sockets
  for (int rank : {0, 1}) beat(rank, Phase::idle, 1);
  EXPECT_FALSE(watch_.judge(now_));
}

TEST_F(RankWatchTest, BeatingWithoutMovingWhileSteppingIsAHang) {
  connect();
  EXPECT_FALSE(run(seconds(2), Phase::stepping, true));
  const TimePoint stalled = now_;
  const auto fault = run(seconds(5), Phase::stepping, false);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::hung);
  EXPECT_GT(now_ - stalled, milliseconds(1400));
  EXPECT_LT(now_ - stalled, milliseconds(1800));
}

TEST_F(RankWatchTest, OneRankThatMovesSavesAll) {
  connect();
  for (int i = 0; i < 100; ++i) {
    now_ += milliseconds(100);
    beat(0, Phase::stepping, uint64_t(i) + 1);
    beat(1, Phase::stepping, 1);
    ASSERT_FALSE(watch_.judge(now_));
  }
}

TEST_F(RankWatchTest, TimeSpentWaitingForACoreIsNotAHang) {
  connect();
  run(seconds(1), Phase::stepping, true);
  for (int i = 0; i < 80; ++i) {  // 8 s still, of which 7.5 s in the run queue
    waited_ns_ += 94'000'000;
    ASSERT_FALSE(run(milliseconds(100), Phase::stepping, false)) << i;
  }
  EXPECT_TRUE(run(seconds(3), Phase::stepping, false));
}

// Beats that come late bring a late account of the waiting too: until then nobody hangs.
TEST_F(RankWatchTest, WhatARankHasNotToldYetIsNoHang) {
  connect();
  run(seconds(1), Phase::stepping, true);
  EXPECT_FALSE(run(milliseconds(400), Phase::stepping, false));
  now_ += milliseconds(1400);
  EXPECT_FALSE(watch_.judge(now_));
  waited_ns_ += 1'300'000'000;
  EXPECT_FALSE(run(milliseconds(100), Phase::stepping, false));
  EXPECT_TRUE(run(milliseconds(1500), Phase::stepping, false));
}

TEST_F(RankWatchTest, LoadingMayStandStillLongerButNotForEver) {
  connect();
  EXPECT_FALSE(run(seconds(59), Phase::loading, false));
  const auto fault = run(seconds(3), Phase::loading, false);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::late);
  EXPECT_FALSE(watch_.all_stopped());
}

TEST_F(RankWatchTest, ARankThatNeverCallsIsLate) {
  watch_.on_hello(0, Hello{"key", 0, 2, 100, "host0", ""}, now_);
  EXPECT_FALSE(watch_.all_connected());
  std::optional<EngineFault> fault;
  for (int i = 0; i < 700 && !fault; ++i) {
    now_ += milliseconds(100);
    beat(0, Phase::joining, uint64_t(i) + 1);
    fault = watch_.judge(now_);
  }
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind, FaultKind::late);
  EXPECT_EQ(fault->rank, 1);
}

TEST_F(RankWatchTest, AFailureCarriesTheRanksOwnWordsStepAndCause) {
  connect();
  const EngineFault fault = watch_.failed({FailureKind::checkpoint, 1, 9, "load", "a file is truncated"}, now_);
  EXPECT_EQ(fault.cause, FailureKind::checkpoint);
  EXPECT_EQ(fault.text, "a file is truncated");
  EXPECT_NE(fault.summary.find("rank 1 on host1"), std::string::npos);
  EXPECT_NE(fault.summary.find("step 9, last operation load"), std::string::npos);
}

}  // namespace
}  // namespace trireme
