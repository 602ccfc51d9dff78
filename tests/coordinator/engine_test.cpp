#include "coordinator/engine.h"

#include <gtest/gtest.h>

#include "tests/coordinator/support/fake_executor.h"
#include "tests/coordinator/support/fake_port.h"
#include "tests/coordinator/support/scheduler_harness.h"

namespace trireme::test {
namespace {

struct EngineTest : ::testing::Test {
  EngineTest() : model(small_cluster(), 1, 0), executor(model, 1), engine(port, executor, clock, {}) {}

  void send(EngineCommand command) { port.commands.push_back(std::move(command)); }
  template <typename Event>
  std::vector<Event> emitted() const {
    return events_of<Event>(port.events);
  }

  FakeModel model;
  FakeExecutor executor;
  FakePort port;
  FakeClock clock;
  Engine engine;
};

TEST_F(EngineTest, AnswersARequestAndShutsDownAfterItsLastResult) {
  const Request request = make_request(1, 10, 5);
  send(SubmitCommand{request});
  send(ShutdownCommand{.drain = true});
  engine.run();
  std::vector<TokenId> ids;
  for (const TokenEvent& event : emitted<TokenEvent>()) ids.push_back(event.token.id);
  EXPECT_EQ(ids, model.answer(request).choices[0].ids);
  EXPECT_TRUE(executor.shut_down());
  EXPECT_EQ(emitted<EngineStats>().back().generated_tokens, 5);
}

TEST_F(EngineTest, StatisticsPrecedeTheLastTokenOfAll) {
  send(SubmitCommand{make_request(1, 3, 4)});
  send(SubmitCommand{make_request(2, 3, 2)});
  while (emitted<EngineStats>().empty()) ASSERT_TRUE(engine.step());
  EXPECT_EQ(emitted<EngineStats>().back().generated_tokens, 6);
  EXPECT_EQ(emitted<TokenEvent>().size(), 6u);
}

TEST_F(EngineTest, NamesAPlansRequestsBeforeItIsSubmitted) {
  send(SubmitCommand{make_request(4, 3)});
  engine.step();
  EXPECT_EQ(port.announced_step, 0);
  EXPECT_EQ(port.announced, std::vector<RequestId>{4});
}

TEST_F(EngineTest, KeepsTheNextPlanInFlightWhileItWaitsForTheOldest) {
  send(SubmitCommand{make_request(1, 3, 20)});
  engine.step();
  EXPECT_EQ(executor.in_flight(), 1);
  for (int round = 0; round < 5; ++round) {
    engine.step();
    EXPECT_EQ(executor.in_flight(), 1);
    EXPECT_EQ(emitted<TokenEvent>().size(), size_t(round + 1));
  }
}

TEST_F(EngineTest, AnInvalidRequestIsItsSendersFaultAndNobodyElses) {
  Request bad = make_request(1, 3);
  bad.prompt[0] = 100;
  send(SubmitCommand{bad});
  send(SubmitCommand{make_request(2, 3, 1)});
  engine.step();
  engine.step();
  const auto failures = emitted<RequestFailedEvent>();
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_TRUE(failures[0].client_fault);
  EXPECT_NE(failures[0].message.find("token id 100"), std::string::npos);
  EXPECT_EQ(emitted<TokenEvent>().at(0).request, 2u);
}

TEST_F(EngineTest, RefusesRequestsOnceItIsShuttingDown) {
  send(ShutdownCommand{});
  send(SubmitCommand{make_request(1, 3)});
  engine.run();
  EXPECT_EQ(emitted<RequestFailedEvent>().size(), 1u);
}

TEST_F(EngineTest, AShutdownWithoutDrainAbortsWhatRuns) {
  send(SubmitCommand{make_request(1, 3, 50)});
  engine.step();
  send(ShutdownCommand{.drain = false});
  engine.run();
  EXPECT_EQ(emitted<TokenEvent>().back().finish, FinishReason::abort);
  EXPECT_EQ(executor.in_flight(), 0);
}

TEST_F(EngineTest, ACancelledRequestEmitsNothingMore) {
  send(SubmitCommand{make_request(1, 3, 50)});
  for (int round = 0; round < 3; ++round) engine.step();
  send(CancelCommand{1});
  engine.step();
  const size_t events = port.events.size();
  EXPECT_EQ(emitted<TokenEvent>().back().finish, FinishReason::abort);
  engine.step();
  EXPECT_EQ(port.events.size(), events);
}

TEST_F(EngineTest, SleepsUntilACollectedBatchIsDue) {
  using std::chrono::milliseconds;
  SchedulerOptions options;
  options.batching = {.policy = BatchingPolicy::dynamic, .size = 4, .wait = milliseconds(250)};
  Engine collecting(port, executor, clock, options);
  send(SubmitCommand{make_request(1, 3, 1)});
  collecting.step();
  EXPECT_EQ(port.announced_step, -1);
  collecting.step();
  EXPECT_EQ(port.last_timeout, milliseconds(100));  // statistics go on meanwhile
  clock.time += milliseconds(230);
  collecting.step();
  EXPECT_EQ(port.last_timeout, milliseconds(20));
  EXPECT_EQ(port.announced_step, -1);
  clock.time += milliseconds(20);
  collecting.step();
  EXPECT_EQ(port.last_timeout, milliseconds(0));
  EXPECT_EQ(port.announced_step, 0);
  collecting.step();
  EXPECT_EQ(emitted<TokenEvent>().size(), 1u);
}

TEST_F(EngineTest, AShutdownThatDrainsStartsACollectedBatchAtOnce) {
  SchedulerOptions options;
  options.batching = {.policy = BatchingPolicy::static_, .size = 4, .wait = std::chrono::hours(1)};
  Engine collecting(port, executor, clock, options);
  send(SubmitCommand{make_request(1, 3, 2)});
  collecting.step();
  send(ShutdownCommand{.drain = true});
  collecting.run();
  EXPECT_EQ(emitted<TokenEvent>().back().finish, FinishReason::length);
  EXPECT_TRUE(executor.shut_down());
}

TEST_F(EngineTest, ReportsStatisticsTenTimesASecond) {
  for (int round = 0; round < 30; ++round) {
    clock.time += std::chrono::milliseconds(100);
    engine.step();
  }
  EXPECT_EQ(emitted<EngineStats>().size(), 30u);
}

}  // namespace
}  // namespace trireme::test
