#include "launcher/front_loop.h"

#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "launcher/signals.h"
#include "protocol/link.h"

namespace trireme {
namespace {

constexpr Duration kDrainOnSignal = std::chrono::seconds(2), kDrainAtEnd = std::chrono::seconds(10);
constexpr std::chrono::milliseconds kTick{50}, kFaultGrace{300}, kHostGrace{200};
constexpr int kWarning = 3;  // spdlog's level

TimePoint now() { return std::chrono::steady_clock::now(); }

class FrontLoop {
 public:
  FrontLoop(EngineClient& client, EngineHost& host, FrontJob& job, const FrontLoopOptions& options)
      : client_(client), host_(host), job_(job), options_(options) {}

  int run() {
    while (!result_) {
      for (ClientEvent& event : client_.poll(kTick)) {
        std::visit([this](auto& value) { on(value); }, event);
        if (result_) break;
      }
      if (result_) break;
      host_.watch(client_.ranks());
      job_.on_tick(now());
      look_at_signals();
      look_at_host();
      look_at_job();
    }
    return *result_;
  }

 private:
  void on(EngineFacts& facts) {
    if (!pending_signal()) job_.start(facts, client_, now());
    ready_ = true;
  }
  void on(std::vector<EngineEvent>& events) {
    if (!pending_signal()) job_.on_events(events, now());
  }
  void on(RankLog& log) {
    if (log.line.level >= kWarning || options_.verbose)
      std::fprintf(stderr, "[rank %d] %s\n", log.rank, log.line.line.c_str());
  }
  void on(EngineStopped&) {
    if (!host_.wait_for_end(std::chrono::seconds(5))) host_.kill();
    if (const int signal = pending_signal()) return finish(128 + signal);
    if (!job_.done()) return fail("the engine stopped before the work was done", {});
    job_.finish(now());
    finish(job_.exit_code());
  }
  void on(EngineFault& fault) {
    if (fault.kind == FaultKind::ended || fault.kind == FaultKind::silent) blame_host(fault);
    host_.kill();
    const int signal = pending_signal();
    if (signal && stopping_) return finish(128 + signal);  // ranks that were told to go
    if (fault.kind == FaultKind::failed && fault.cause != FailureKind::internal) {
      std::fprintf(stderr, "trireme: %s\n", fault.text.c_str());
      if (options_.verbose) print(fault.details);
      return finish(fault.cause == FailureKind::config ? kExitUsage : kExitError);
    }
    fail(fault.summary, fault.details);
  }

  // Ranks die with the mpirun that held them; then it is the one to name.
  void blame_host(EngineFault& fault) {
    std::optional<HostTrouble> trouble;
    for (const TimePoint deadline = now() + kHostGrace; !trouble && now() < deadline; ::usleep(2000))
      trouble = host_.trouble();
    const std::vector<RankState> ranks = client_.ranks();
    if (trouble && trouble->by_signal) fault.summary = host_failure(*trouble, ranks);
  }

  // Names a rank too: how far the work had come.
  static std::string host_failure(const HostTrouble& trouble, const std::vector<RankState>& ranks) {
    return "the engine failed: " + trouble.text + (ranks.empty() ? "" : "; " + rank_text(0, ranks[0]));
  }

  void look_at_signals() {
    const int signal = pending_signal();
    if (!signal || result_) return;
    if (!stopping_) {
      job_.cancel();
      client_.shutdown(false);
      stop_within(kDrainOnSignal);
    }
    if (!ready_ || signals_received() > 1) {  // nothing to drain, or no patience
      host_.kill();
      finish(128 + signal);
    }
  }

  // What holds the ranks is gone or stopped. A rank's own words are better than that: they get a moment to arrive.
  void look_at_host() {
    if (result_) return;
    const auto trouble = host_.trouble();
    if (!trouble) return;
    for (const TimePoint deadline = now() + kFaultGrace; !result_ && now() < deadline;)
      for (ClientEvent& event : client_.poll(std::chrono::milliseconds(20))) {
        std::visit([this](auto& value) { on(value); }, event);
        if (result_) return;
      }
    const std::vector<RankState> ranks = client_.ranks();
    std::vector<std::string> details;
    for (size_t i = 0; i < ranks.size(); ++i) details.push_back(rank_text(int(i), ranks[i]));
    host_.kill();
    if (const int signal = pending_signal(); signal && stopping_) return finish(128 + signal);
    fail(host_failure(*trouble, ranks), details);
    if (!ready_ && !options_.verbose) print(host_.output_tail());  // it never ran: mpirun knows why
  }

  void look_at_job() {
    if (result_) return;
    if (ready_ && job_.done() && !stopping_) {
      client_.shutdown(true);
      stop_within(kDrainAtEnd);
    }
    if (!stopping_ || now() < stop_deadline_) return;
    host_.kill();
    if (const int signal = pending_signal()) return finish(128 + signal);
    fail("the engine failed: it did not stop when told to", {});
  }

  void stop_within(Duration duration) {
    stopping_ = true;
    stop_deadline_ = now() + duration;
  }

  void fail(const std::string& line, const std::vector<std::string>& details) {
    std::fprintf(stderr, "trireme: %s\n", line.c_str());
    if (options_.verbose) {
      print(details);
      print(host_.output_tail());
    }
    finish(kExitEngineFailure);
  }
  void print(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) std::fprintf(stderr, "  %s\n", line.c_str());
  }
  void finish(int code) { result_ = code; }

  EngineClient& client_;
  EngineHost& host_;
  FrontJob& job_;
  FrontLoopOptions options_;
  bool ready_ = false, stopping_ = false;
  TimePoint stop_deadline_;
  std::optional<int> result_;
};

}  // namespace

int run_front(EngineClient& client, EngineHost& host, FrontJob& job, const FrontLoopOptions& options) {
  return FrontLoop(client, host, job, options).run();
}

}  // namespace trireme
