// How a server's front ends by signals: an engine of one rank that is a thread of this process, behind the real link.
// Signals are flags for the rest of a process's life, so each case runs in a process of its own (a death test).

#include "launcher/front_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "launcher/signals.h"
#include "protocol/link.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;

EngineClientOptions listening(const std::string& path, uint32_t attempt) {
  EngineClientOptions options;
  options.listen_address = "unix:" + path;
  options.attempt = attempt;
  return options;
}

constexpr int kNever = -1, kAtShutdown = -2;

// One token of one request every few milliseconds; dies at its `dies_at`th token, or instead of an orderly end.
class ThreadEngine final : public EngineAttempt, public EngineHost {
 public:
  ThreadEngine(const std::string& path, uint32_t attempt, int dies_at)
      : client_(listening(path, attempt)), thread_([this, dies_at] { run(dies_at); }) {}
  ~ThreadEngine() override {
    kill();
    if (thread_.joinable()) thread_.join();
  }
  EngineClient& client() override { return client_; }
  EngineHost& host() override { return *this; }
  std::optional<HostTrouble> trouble() override { return std::nullopt; }
  bool wait_for_end(Duration) override { return true; }
  void kill() override { dead_ = true; }

 private:
  void run(int dies_at) {
    LinkOptions options;
    options.front = client_.endpoint();
    FrontLink link(options);
    EngineFacts facts;
    facts.vocab_size = 10;
    link.send_ready(facts);
    std::optional<Request> request;
    int next = 0;
    for (int said = 0; !dead_;) {
      for (EngineCommand& command : link.receive(milliseconds(5))) {
        if (auto* submit = std::get_if<SubmitCommand>(&command)) {
          request = submit->request;
          next = request->emitted.empty() ? 0 : int(request->emitted[0].ids.size());
        }
        if (std::holds_alternative<ShutdownCommand>(command)) {
          if (dies_at != kAtShutdown) link.stop();
          return;
        }
      }
      if (!request) continue;
      if (said++ == dies_at) return;
      TokenEvent event;
      event.request = request->id;
      event.index = next++;
      event.token.id = event.index % 10;
      const bool last = next >= request->sampling.max_new_tokens;
      if (last) event.finish = FinishReason::length;
      link.emit({event});
      if (last) request.reset();
    }
  }

  EngineClient client_;
  std::atomic<bool> dead_{false};
  std::thread thread_;
};

// A server with one client: never done before it is told to drain.
class ServerJob : public FrontJob {
 public:
  ServerJob(int tokens, int signals) : tokens_(tokens), signals_(signals) {}
  void start(const EngineFacts&, RequestPort& port, TimePoint) override {
    Request request;
    request.id = 1;
    request.prompt = {1};
    request.sampling.max_new_tokens = tokens_;
    if (got_ > 0) request.emitted.push_back({0, false, std::vector<int32_t>(size_t(got_), 1)});
    port.submit(request);
  }
  void on_events(const std::vector<EngineEvent>& events, TimePoint) override {
    for (const EngineEvent& event : events) {
      const auto* token = std::get_if<TokenEvent>(&event);
      if (!token) continue;
      if (token->index != got_) std::_Exit(99);  // a gap or a duplicate
      if (got_++ == 3)
        for (int i = 0; i < signals_; ++i) raise(SIGTERM);
      if (got_ == 4 && signals_ < 0)  // whenever the loop may be
        std::thread([] {
          std::this_thread::sleep_for(milliseconds(1));
          kill(getpid(), SIGTERM);
        }).detach();
    }
  }
  void cancel() override { std::_Exit(98); }  // what drains is not cancelled
  bool drain() override { return draining_ = true; }
  bool done() const override { return draining_ && got_ == tokens_; }
  int exit_code() const override { return 0; }

 private:
  int tokens_, signals_, got_ = 0;
  bool draining_ = false;
};

// Gives up what is open.
class OfflineJob final : public ServerJob {
 public:
  using ServerJob::ServerJob;
  void cancel() override {}
  bool drain() override { return false; }
};

[[noreturn]] void run(FrontJob& job, FrontLoopOptions options, int dies_at) {
  install_signal_flags();
  const std::string folder = testing::TempDir() + "/front_loop_" + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  const int code = run_front(
      [&](uint32_t attempt) {
        return std::make_unique<ThreadEngine>(folder + "/" + std::to_string(attempt), attempt, attempt == 1 ? dies_at : kNever);
      },
      job, options);
  std::filesystem::remove_all(folder);
  std::_Exit(code);
}

[[noreturn]] void serve(int tokens, int signals, milliseconds patience, int dies_at = kNever) {
  ServerJob job(tokens, signals);
  FrontLoopOptions options;
  options.shutdown_timeout = patience;
  run(job, options, dies_at);
}

// One signal, upon which the rank dies.
[[noreturn]] void generate(bool outer_run) {
  OfflineJob job(100000, 1);
  FrontLoopOptions options;
  options.outer_run = outer_run;
  options.supervision.max_restarts = 0;
  run(job, options, kAtShutdown);
}

class FrontLoopDeathTest : public testing::Test {
 protected:
  FrontLoopDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(FrontLoopDeathTest, ADrainFinishesWhatIsOpen) {
  EXPECT_EXIT(serve(60, 1, std::chrono::seconds(30)), testing::ExitedWithCode(0), "");
}

TEST_F(FrontLoopDeathTest, ASignalBetweenTwoLooksDropsNoEvent) {
  for (int i = 0; i < 5; ++i)
    EXPECT_EXIT(serve(2000, -1, std::chrono::seconds(30)), testing::ExitedWithCode(0), "");
}

TEST_F(FrontLoopDeathTest, ADrainOutlivesTheEngine) {
  EXPECT_EXIT(serve(60, 1, std::chrono::seconds(30), 20), testing::ExitedWithCode(0), "attempt 2 starts");
}

TEST_F(FrontLoopDeathTest, ADrainEndsWithItsTime) {
  EXPECT_EXIT(serve(100000, 1, milliseconds(200)), testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST_F(FrontLoopDeathTest, TheSecondSignalEndsAtOnce) {
  EXPECT_EXIT(serve(100000, 2, std::chrono::hours(1)), testing::ExitedWithCode(128 + SIGTERM), "");
}

// A signal that also ends mpirun takes the ranks along. An outer run's ranks do not heed it: it comes because one is dead.
TEST_F(FrontLoopDeathTest, ARankThatDiesWithTheSignalIsNewsInAnOuterRun) {
  EXPECT_EXIT(generate(true), testing::ExitedWithCode(kExitEngineFailure), "rank 0 .* died");
  EXPECT_EXIT(generate(false), testing::ExitedWithCode(128 + SIGTERM), "^$");
}

}  // namespace
}  // namespace trireme
