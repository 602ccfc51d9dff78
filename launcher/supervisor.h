#pragma once
// What to do when the engine ends: start it again, and when; give up, and with which exit code; and which request, if
// any, is to blame. Pure: no clock, no I/O, no threads; the same calls give the same answers.
//
// Only the requests of the plans under way are suspects of a crash; a new token clears one. A request that is a suspect
// twice without a token between is put on trial: the suspects run in halves, each alone until all of it has brought a
// token, everything else held back. A half that crashes is halved again. A request is poisoned, and failed, once the
// engine has died twice while it ran this request alone. A crash before the engine was ready blames nobody.
//
// Delays: none, then 1 s doubling to `backoff_max`; a token from anybody, or a minute of life, begins anew. A crash
// that narrows a trial down costs no delay: it will not repeat.

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gateway/restart_counters.h"
#include "gateway/restart_fault.h"
#include "protocol/messages.h"

namespace trireme {

inline constexpr int kExitNeverReady = 72;  // the engine ended again and again before it was ready
inline constexpr int kMaxLoadFailures = 3;  // in a row

struct SupervisorOptions {
  int max_restarts = 16;  // in a row without a token from anybody; 0: never again after the first end
  Duration backoff_max = std::chrono::seconds(30);
};

struct AttemptEnd {
  RestartCause cause = RestartCause::rank_died;
  FailureKind blame = FailureKind::internal;
  std::vector<RequestId> suspects{};  // announced in plans under way, and open
  Duration lived{};                 // since it was ready
  bool hopeless = false;            // nothing a second try could change: mpirun refused its command line
};

struct Verdict {
  bool restart = false;
  Duration delay{};
  int exit_code = 0;   // when not
  std::string reason{};  // when not; empty: restarts are off, or the failure's own words say it
  std::vector<RequestId> poisoned{};  // to be failed before the next attempt
};

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options, RestartFault fault = RestartFault::none)
      : options_(options), fault_(fault) {}

  uint32_t attempt() const { return attempt_; }  // of the engine that runs or is to be started; from 1
  bool ready() const { return ready_; }
  void on_ready();
  void on_progress(RequestId request);  // a new token, or an end that is the engine's word
  void on_gone(RequestId request);      // ended by the front: no longer a suspect
  // All of the attempt's replays are submitted: what is not among them needs no trial.
  void on_resubmitted(const std::set<RequestId>& open);
  Verdict on_end(const AttemptEnd& end);

  bool on_trial() const { return !trials_.empty(); }
  bool admits(RequestId request) const;  // may it run now? What may not is held back until on_trial() changes
  const std::deque<std::vector<RequestId>>& trials() const { return trials_; }  // the first one runs
  const RestartCounters& counters() const { return counters_; }

 private:
  std::vector<RequestId> judge(const std::vector<RequestId>& suspects);
  std::vector<RequestId> judge_trial(const std::vector<RequestId>& suspects);
  void put_on_trial(std::vector<RequestId> suspects, bool first);
  void acquit(RequestId request);
  Verdict give_up(int exit_code, std::string reason) const;

  SupervisorOptions options_;
  RestartFault fault_;
  uint32_t attempt_ = 1;
  bool ready_ = false;
  int load_failures_ = 0;                    // in a row
  int fruitless_ = 0;                        // ends in a row without a token between
  std::map<RequestId, int> crashes_;         // as a suspect among others, since its last token
  std::map<RequestId, int> crashes_alone_;   // likewise
  std::deque<std::vector<RequestId>> trials_;  // none empty
  RestartCounters counters_;
};

}  // namespace trireme
