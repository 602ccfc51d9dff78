#include "launcher/supervisor.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "launcher/request_gate.h"
#include "protocol/link.h"

namespace trireme {
namespace {

using std::chrono::seconds;

AttemptEnd crash(std::vector<RequestId> suspects, Duration lived = {}) {
  AttemptEnd end;
  end.suspects = std::move(suspects);
  end.lived = lived;
  return end;
}

Verdict crash_running(Supervisor& supervisor, std::vector<RequestId> suspects, Duration lived = {}) {
  supervisor.on_ready();
  return supervisor.on_end(crash(std::move(suspects), lived));
}

TEST(Supervisor, WaitsLongerEachTimeUntilATokenComes) {
  Supervisor supervisor({.max_restarts = 16, .backoff_max = seconds(5)});
  for (const int expected : {0, 1, 2, 4, 5, 5}) EXPECT_EQ(crash_running(supervisor, {}).delay, seconds(expected));
  supervisor.on_ready();
  supervisor.on_progress(1);
  EXPECT_EQ(supervisor.on_end(crash({})).delay, seconds(0));
  EXPECT_EQ(crash_running(supervisor, {}).delay, seconds(1));
  EXPECT_EQ(crash_running(supervisor, {}, seconds(61)).delay, seconds(0));  // it had lived
  EXPECT_EQ(supervisor.counters().restarts, 9);
  EXPECT_EQ(supervisor.counters().of(RestartCause::rank_died), 9);
  EXPECT_EQ(supervisor.attempt(), 10u);
}

TEST(Supervisor, GivesUpAfterThreeStartsThatDidNotGetReady) {
  Supervisor supervisor({});
  EXPECT_TRUE(supervisor.on_end(crash({})).restart);
  EXPECT_TRUE(supervisor.on_end(crash({})).restart);
  crash_running(supervisor, {});  // in a row, not in all
  EXPECT_TRUE(supervisor.on_end(crash({})).restart);
  EXPECT_TRUE(supervisor.on_end(crash({})).restart);
  const Verdict verdict = supervisor.on_end(crash({}));
  EXPECT_FALSE(verdict.restart);
  EXPECT_EQ(verdict.exit_code, kExitNeverReady);
  EXPECT_NE(verdict.reason.find("3 times in a row"), std::string::npos);
}

TEST(Supervisor, GivesUpWhereNothingCanHelp) {
  for (const auto& [blame, code] : {std::pair{FailureKind::config, 2}, {FailureKind::checkpoint, 1}}) {
    Supervisor supervisor({});
    AttemptEnd end;
    end.blame = blame;
    const Verdict verdict = supervisor.on_end(end);
    EXPECT_FALSE(verdict.restart);
    EXPECT_EQ(verdict.exit_code, code);
  }
  Supervisor off({.max_restarts = 0});
  EXPECT_EQ(crash_running(off, {}).exit_code, kExitEngineFailure);
  Supervisor refused({});
  AttemptEnd end;
  end.hopeless = true;
  EXPECT_EQ(refused.on_end(end).exit_code, kExitEngineFailure);
  Supervisor few({.max_restarts = 2});
  EXPECT_TRUE(crash_running(few, {}).restart);
  EXPECT_TRUE(crash_running(few, {}).restart);
  const Verdict last = crash_running(few, {});
  EXPECT_EQ(last.exit_code, kExitEngineFailure);
  EXPECT_NE(last.reason.find("2 times without a new token"), std::string::npos);
}

TEST(Supervisor, HalvesTheSuspectsUntilOneHasDiedAloneTwice) {
  Supervisor supervisor({});
  EXPECT_TRUE(crash_running(supervisor, {1, 2, 3, 4}).poisoned.empty());
  EXPECT_FALSE(supervisor.on_trial());
  const Verdict second = crash_running(supervisor, {1, 2, 3, 4});
  EXPECT_EQ(second.delay, Duration{});  // it narrows
  ASSERT_TRUE(supervisor.on_trial());
  EXPECT_TRUE(supervisor.admits(1) && supervisor.admits(2));
  EXPECT_FALSE(supervisor.admits(3) || supervisor.admits(9));
  supervisor.on_ready();
  supervisor.on_progress(1);
  EXPECT_FALSE(supervisor.admits(3));
  supervisor.on_progress(2);
  EXPECT_TRUE(supervisor.admits(3) && supervisor.admits(4));
  supervisor.on_end(crash({2, 3, 4}));  // one that is cleared ran beside them: the same half again
  EXPECT_TRUE(supervisor.admits(3) && supervisor.admits(4));
  crash_running(supervisor, {3, 4});
  EXPECT_TRUE(supervisor.admits(3));
  EXPECT_FALSE(supervisor.admits(4));
  supervisor.on_ready();
  supervisor.on_gone(3);  // its client left
  EXPECT_TRUE(supervisor.admits(4));
  EXPECT_TRUE(supervisor.on_end(crash({4})).poisoned.empty());
  EXPECT_EQ(crash_running(supervisor, {4}).poisoned, std::vector<RequestId>{4});
  EXPECT_FALSE(supervisor.on_trial());
  EXPECT_EQ(supervisor.counters().poisoned, 1);
}

TEST(Supervisor, ATokenClearsASuspect) {
  Supervisor supervisor({});
  crash_running(supervisor, {1, 2});
  supervisor.on_ready();
  supervisor.on_progress(1);
  supervisor.on_end(crash({1, 2}));
  EXPECT_FALSE(supervisor.admits(1));
  EXPECT_TRUE(supervisor.admits(2));
}

TEST(Supervisor, ATrialDoesNotWaitForWhatIsNotThere) {
  Supervisor supervisor({});
  crash_running(supervisor, {1, 2});
  crash_running(supervisor, {1, 2});
  supervisor.on_ready();
  supervisor.on_resubmitted({2, 3});
  EXPECT_TRUE(supervisor.admits(2));
  EXPECT_FALSE(supervisor.admits(3));
}

TEST(Supervisor, ALoadThatDiesBlamesNobody) {
  Supervisor supervisor({});
  crash_running(supervisor, {1});
  supervisor.on_end(crash({1}));
  EXPECT_FALSE(supervisor.on_trial());
}

struct Port final : RequestPort {
  void submit(Request request) override { submitted.push_back(request.id); }
  void cancel(RequestId request, int32_t) override { cancelled.push_back(request); }
  std::vector<RequestId> submitted, cancelled;
};

Request request(RequestId id, int n = 1) {
  Request request;
  request.id = id;
  request.prompt = {1};
  request.sampling.n = n;
  return request;
}

class RequestGateTest : public testing::Test {
 protected:
  void open(const std::vector<RequestId>& requests) {
    supervisor_.on_ready();
    gate_.open(port_);
    for (RequestId id : requests) gate_.submit(request(id, 2));
    gate_.settle();
  }
  void crash_with(const std::vector<RequestId>& announced) {
    const auto suspects = gate_.running(announced);
    gate_.close();
    supervisor_.on_end(crash(suspects));
    port_.submitted.clear();
  }
  TokenEvent token(RequestId id, int32_t choice = 0, FinishReason finish = FinishReason::none) {
    TokenEvent event;
    event.request = id;
    event.choice = choice;
    event.finish = finish;
    return event;
  }

  Supervisor supervisor_{{}};
  RequestGate gate_{supervisor_};
  Port port_;
};

TEST_F(RequestGateTest, HoldsBackAllButTheSuspects) {
  gate_.submit(request(7));  // no engine: dropped
  open({1, 2, 3});
  EXPECT_EQ(port_.submitted, (std::vector<RequestId>{1, 2, 3}));
  EXPECT_THROW(gate_.submit(request(1)), InternalError);
  crash_with({1, 2});
  open({1, 2, 3});
  crash_with({1, 2});
  open({1, 2, 3});
  EXPECT_EQ(port_.submitted, std::vector<RequestId>{1});
  gate_.submit(request(4));  // a new one waits too
  EXPECT_EQ(gate_.num_held(), 3u);
  gate_.note({token(1)});
  EXPECT_EQ(port_.submitted, (std::vector<RequestId>{1, 2}));
  gate_.note({token(2)});
  EXPECT_EQ(port_.submitted, (std::vector<RequestId>{1, 2, 3, 4}));
}

TEST_F(RequestGateTest, AnswersACancelOfWhatItHolds) {
  open({1, 2});
  crash_with({1});
  open({1, 2});
  crash_with({1});
  open({1, 2});
  gate_.cancel(2);
  EXPECT_TRUE(port_.cancelled.empty());
  EXPECT_EQ(gate_.take_events().size(), 2u);  // each choice ends once
  EXPECT_EQ(gate_.num_held(), 0u);
  gate_.cancel(1);  // the suspect itself leaves: the trial is over
  EXPECT_EQ(port_.cancelled, std::vector<RequestId>{1});
  EXPECT_FALSE(supervisor_.on_trial());
}

TEST_F(RequestGateTest, KnowsWhatHasEnded) {
  open({1, 2});
  gate_.note({token(1, 0, FinishReason::stop), token(1, 1, FinishReason::length), token(2, 0, FinishReason::stop)});
  EXPECT_EQ(gate_.running({1, 2, 5}), std::vector<RequestId>{2});
  gate_.note({RequestFailedEvent{2, false, "no"}});
  EXPECT_TRUE(gate_.running({1, 2, 5}).empty());
}

}  // namespace
}  // namespace trireme
