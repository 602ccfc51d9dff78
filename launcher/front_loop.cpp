#include "launcher/front_loop.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/error.h"
#include "launcher/failure_report.h"
#include "launcher/host_reach.h"
#include "launcher/request_gate.h"
#include "launcher/signals.h"
#include "protocol/link.h"

namespace trireme {
namespace {

constexpr Duration kDrainOnSignal = std::chrono::seconds(2), kDrainAtEnd = std::chrono::seconds(10);
constexpr Duration kDevicePatience = std::chrono::seconds(10);
constexpr std::chrono::milliseconds kTick{50}, kFaultGrace{300}, kHostGrace{200};
constexpr int kWarning = 3;  // spdlog's level

TimePoint now() { return std::chrono::steady_clock::now(); }

RestartCause cause_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::ended: return RestartCause::rank_died;
    case FaultKind::silent: return RestartCause::rank_silent;
    case FaultKind::hung: return RestartCause::rank_hung;
    case FaultKind::late: return RestartCause::load_stalled;
    case FaultKind::failed: return RestartCause::rank_failed;
    case FaultKind::protocol: return RestartCause::protocol;
  }
  return RestartCause::rank_died;
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

void say(const std::string& line) { std::fprintf(stderr, "trireme: %s\n", line.c_str()); }

std::vector<std::string> rank_lines(const std::vector<RankState>& ranks) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < ranks.size(); ++i) lines.push_back(rank_text(int(i), ranks[i]));
  return lines;
}

class FrontLoop {
 public:
  FrontLoop(const StartAttempt& start, FrontJob& job, const FrontLoopOptions& options)
      : start_(start), job_(job), options_(options), supervisor_(options.supervision), gate_(supervisor_) {}

  ~FrontLoop() { job_.release_port(); }

  int run() {
    if (options_.devices) memory_before_ = options_.devices->used_bytes();
    attempt_ = start_(supervisor_.attempt());
    while (!result_) {
      if (attempt_)
        poll_engine(kTick);
      else
        wait_for_next_attempt();
      if (result_) break;
      job_.on_tick(now());
      look_at_signals();
      if (!result_ && attempt_) look_at_host();
      if (!result_ && attempt_) look_at_job();
    }
    return *result_;
  }

 private:
  void poll_engine(std::chrono::milliseconds timeout) {
    std::vector<ClientEvent> events = attempt_->client().poll(timeout);
    // Announced before their tokens: a start that came after the poll is early by one poll at most.
    if (const std::vector<RequestId> started = attempt_->client().take_started(); !started.empty())
      job_.on_started(started, now());
    for (ClientEvent& event : events) {
      std::visit([this](auto& value) { on(value); }, event);
      if (result_ || !attempt_) return;
    }
    const std::vector<RankState> ranks = attempt_->client().ranks();
    attempt_->host().watch(ranks);
    if (supervisor_.ready()) hosts_.learn(ranks, now());
    job_.on_ranks(ranks, now());
    if (std::vector<EngineEvent> ends = gate_.take_events(); !ends.empty()) job_.on_events(ends, now());
  }

  void on(EngineFacts& facts) {
    supervisor_.on_ready();
    ready_since_ = now();
    if (leaving()) return;
    gate_.open(attempt_->client());
    job_.start(facts, gate_, now());
    gate_.settle();
  }
  void on(std::vector<EngineEvent>& events) {
    if (leaving()) return;
    job_.on_events(events, now());
    gate_.note(events);
  }
  void on(RankLog& log) {
    if (log.line.level >= kWarning || options_.verbose)
      std::fprintf(stderr, "[rank %d] %s\n", log.rank, log.line.line.c_str());
  }
  void on(EngineStopped&) {
    if (!attempt_->host().wait_for_end(std::chrono::seconds(5))) attempt_->host().kill();
    if (leaving()) return finish(128 + pending_signal());
    if (!job_.done()) return lose(fault_of("the engine stopped before the work was done"), RestartCause::mpirun);
    job_.finish(now());
    finish(job_.exit_code());
  }
  void on(EngineFault& fault) {
    RestartCause cause = cause_of(fault.kind);
    const bool may_be_the_hosts = fault.kind == FaultKind::ended || fault.kind == FaultKind::silent;
    if (may_be_the_hosts && !options_.outer_run) blame_host(fault, cause);
    lose(fault, cause);
  }

  // Ranks die with the mpirun that held them; then it is the one to name.
  void blame_host(EngineFault& fault, RestartCause& cause) {
    std::optional<HostTrouble> trouble;
    for (const TimePoint deadline = now() + kHostGrace; !trouble && now() < deadline; ::usleep(2000))
      trouble = attempt_->host().trouble();
    if (!trouble || !trouble->by_signal) return;
    fault.summary = host_failure(*trouble, attempt_->client().ranks());
    cause = RestartCause::mpirun;
  }

  // Names a rank too: how far the work had come.
  static std::string host_failure(const HostTrouble& trouble, const std::vector<RankState>& ranks) {
    return "the engine failed: " + trouble.text + (ranks.empty() ? "" : "; " + rank_text(0, ranks[0]));
  }

  static EngineFault fault_of(const std::string& summary) {
    EngineFault fault;
    fault.summary = summary;
    return fault;
  }

  // The attempt is dead. Everything of it goes, nothing more is read of it, and the supervisor says what follows.
  void lose(EngineFault fault, RestartCause cause, bool hopeless = false) {
    AttemptEnd end{.cause = cause, .blame = fault.kind == FaultKind::failed ? fault.cause : FailureKind::internal};
    end.suspects = gate_.running(attempt_->client().suspects());
    end.lived = now() - ready_since_;
    end.hopeless = hopeless;
    if (fault.details.empty()) fault.details = rank_lines(attempt_->client().ranks());
    attempt_->host().kill();
    const std::vector<std::string> tail = attempt_->host().output_tail();
    gate_.close();
    // Ranks told to go. But under srun --kill-on-bad-exit the signal is what a rank's death brings us.
    if (leaving() && !(options_.outer_run && fault.rank >= 0)) return finish(128 + pending_signal());
    const bool work_done = supervisor_.ready() && job_.done();
    const bool was_ready = supervisor_.ready();
    const uint32_t attempt = supervisor_.attempt();
    const Verdict verdict = supervisor_.on_end(end);
    job_.on_restart_counters(supervisor_.counters());
    // A wrong flag or file is the user's, an unfit host the operator's: their own words are enough.
    const bool own_words = !verdict.restart && verdict.reason.empty() && end.blame != FailureKind::internal;
    const std::string outcome = outcome_of(verdict, work_done);
    std::string line = own_words ? fault.text : fault.summary + (outcome.empty() ? "" : "; " + outcome);
    if (!own_words) {
      FailureReport report{attempt, restart_cause_name(cause), fault.summary, outcome, fault.details,
                           end.suspects, verdict.poisoned, tail};
      if (const auto path = write_report(options_.report_directory, report)) line += " (report: " + *path + ")";
    }
    std::fprintf(stderr, "trireme: %s\n", line.c_str());
    if (options_.verbose) print(fault.details);
    const bool never_ran = !was_ready && !verdict.restart && !own_words;  // mpirun knows why
    if (options_.verbose || never_ran) print(tail);
    if (verdict.restart && work_done) {
      job_.finish(now());
      return finish(job_.exit_code());
    }
    if (!verdict.restart) return finish(verdict.exit_code);
    begin_again(fault, verdict);
  }

  std::string outcome_of(const Verdict& verdict, bool work_done) const {
    if (!verdict.restart) return verdict.reason;
    if (work_done) return "the work was done";
    std::string text = fmt::format("attempt {} starts", supervisor_.attempt());
    if (verdict.delay > Duration{})
      text += fmt::format(" in {:.0f} s", seconds(verdict.delay));
    if (supervisor_.on_trial())
      text += fmt::format(" with {} of the requests that may be to blame", supervisor_.trials().front().size());
    for (RequestId request : verdict.poisoned) text += fmt::format(", request {} is given up", request);
    return text;
  }

  void begin_again(const EngineFault& fault, const Verdict& verdict) {
    attempt_.reset();
    stopping_ = false;
    plan_start(verdict.delay);
    job_.on_engine_lost(fault, now());
    for (RequestId request : verdict.poisoned)
      job_.on_request_poisoned(
          request, "the engine died twice while it ran this request alone, so it is not tried again", now());
    if (job_.done()) {  // the poisoned ones were the last
      job_.finish(now());
      finish(job_.exit_code());
    }
  }

  void plan_start(Duration delay) {
    next_start_ = now() + delay;
    device_deadline_ = next_start_ + kDevicePatience;
    hosts_.begin(now());
    hosts_missed_.reset();
  }

  // Says once that the start waits for a host, and once how that ended.
  bool hosts_answer() {
    const bool all = hosts_.all_answer(now());
    if (const std::vector<std::string> missing = hosts_.missing(); !missing.empty() && !hosts_missed_) {
      hosts_missed_ = now();
      say(fmt::format("host {} does not answer; the next start waits for it, {:.0f} s at most, and requests wait too",
                      fmt::join(missing, ", "), seconds(options_.host_timeout)));
    }
    if (!hosts_missed_) return all;
    const Duration waited = now() - *hosts_missed_;
    if (!all && waited < options_.host_timeout) return false;
    say(all ? fmt::format("every host answers again after {:.0f} s; starting", seconds(waited))
            : fmt::format("a host still does not answer after {:.0f} s; starting all the same", seconds(waited)));
    return true;
  }

  void wait_for_next_attempt() {
    const bool free = !options_.devices || memory_is_back(memory_before_, options_.devices->used_bytes());
    if (now() < next_start_ || (!free && now() < device_deadline_) || !hosts_answer()) {
      ::usleep(useconds_t(std::chrono::microseconds(kTick).count()) / 5);
      return;
    }
    if (!free) say("GPU memory is still in use after the ended attempt; starting all the same");
    try {
      attempt_ = start_(supervisor_.attempt());
    } catch (const Error& error) {
      fail_to_start(error);
    }
  }

  void fail_to_start(const Error& error) {
    const Verdict verdict = supervisor_.on_end({.cause = RestartCause::mpirun});
    job_.on_restart_counters(supervisor_.counters());
    std::fprintf(stderr, "trireme: %s; %s\n", error.what(), outcome_of(verdict, false).c_str());
    if (!verdict.restart) return finish(verdict.exit_code);
    plan_start(verdict.delay);
  }

  // A signal ends the work. A job that drains is asked at once: until it has answered no event may be dropped.
  bool leaving() {
    if (!pending_signal() || draining_) return false;
    if (!std::exchange(asked_to_drain_, true) && job_.drain()) {
      draining_ = true;
      drain_deadline_ = now() + options_.shutdown_timeout;
    }
    return !draining_;
  }

  void look_at_signals() {
    if (take_report_request()) report_live();
    const int signal = pending_signal();
    if (!signal || result_) return;
    if (signals_received() > 1) return end_now(signal);
    if (!leaving()) {
      if (now() >= drain_deadline_) return end_now(signal);
      if (job_.done() && !supervisor_.ready()) {  // its clients left while there was no engine
        end_now(signal);
        result_ = job_.exit_code();
      }
      return;
    }
    if (stopping_) return;
    if (!supervisor_.ready()) return end_now(signal);  // nothing to drain
    job_.cancel();
    attempt_->client().shutdown(false);
    stop_within(kDrainOnSignal);
  }

  void end_now(int signal) {
    if (attempt_) attempt_->host().kill();
    finish(128 + signal);
  }

  void report_live() {
    FailureReport report{.attempt = supervisor_.attempt(), .cause = "live"};
    report.summary = !attempt_ ? "between two attempts" : supervisor_.ready() ? "running" : "starting";
    if (attempt_) {
      report.ranks = rank_lines(attempt_->client().ranks());
      report.suspects = gate_.running(attempt_->client().suspects());
      report.mpirun_tail = attempt_->host().output_tail();
    }
    const auto path = write_report(options_.report_directory, report);
    std::fprintf(stderr, "trireme: %s\n", path ? ("report: " + *path).c_str() : "no report: see --report-dir");
  }

  // What holds the ranks is gone or stopped. A rank's own words are better than that: they get a moment to arrive.
  void look_at_host() {
    const auto trouble = attempt_->host().trouble();
    if (!trouble) return;
    for (const TimePoint deadline = now() + kFaultGrace; now() < deadline;) {
      poll_engine(std::chrono::milliseconds(20));
      if (result_ || !attempt_) return;
    }
    const std::vector<RankState> ranks = attempt_->client().ranks();
    const bool nobody_called = std::ranges::none_of(ranks, &RankState::connected);
    lose(fault_of(host_failure(*trouble, ranks)), RestartCause::mpirun,
         trouble->refused && nobody_called && supervisor_.attempt() == 1);
  }

  void look_at_job() {
    if (supervisor_.ready() && job_.done() && !stopping_) {
      attempt_->client().shutdown(true);
      stop_within(kDrainAtEnd);
    }
    if (!stopping_ || now() < stop_deadline_) return;
    lose(fault_of("the engine failed: it did not stop when told to"), RestartCause::rank_hung);
  }

  void stop_within(Duration duration) {
    stopping_ = true;
    stop_deadline_ = now() + duration;
  }

  void print(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) std::fprintf(stderr, "  %s\n", line.c_str());
  }
  void finish(int code) { result_ = code; }

  const StartAttempt& start_;
  FrontJob& job_;
  const FrontLoopOptions options_;
  Supervisor supervisor_;
  RequestGate gate_;
  std::unique_ptr<EngineAttempt> attempt_;  // null: between two
  TimePoint ready_since_, next_start_, device_deadline_;
  HostReach hosts_;
  std::optional<TimePoint> hosts_missed_;  // since when the next start waits for one
  std::vector<int64_t> memory_before_;  // of the GPUs, before the first attempt
  bool stopping_ = false;               // the engine was told to
  bool asked_to_drain_ = false;
  bool draining_ = false;               // the job finishes what it has accepted
  TimePoint stop_deadline_, drain_deadline_;
  std::optional<int> result_;
};

}  // namespace

int run_front(const StartAttempt& start, FrontJob& job, const FrontLoopOptions& options) {
  return FrontLoop(start, job, options).run();
}

}  // namespace trireme
