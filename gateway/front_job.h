#pragma once
// What a command does with an engine, seen from the loop that runs both. All calls on one thread.

#include <string>
#include <vector>

#include "base/clock.h"
#include "gateway/engine_client.h"
#include "gateway/restart_counters.h"

namespace trireme {

inline constexpr const char* kRequestPoisoned = "request_poisoned";  // the error's code

class FrontJob {
 public:
  virtual ~FrontJob() = default;
  // The engine is ready. After on_engine_lost again, for the next attempt: submits, before it returns, everything
  // accepted and unfinished (Ledger::replay). The port stays valid; between the two it drops what it is given.
  virtual void start(const EngineFacts& facts, RequestPort& port, TimePoint now) = 0;
  virtual void on_events(const std::vector<EngineEvent>& events, TimePoint now) = 0;
  // The engine is gone and will be started again; nothing more comes from it. For clients no more than a pause.
  virtual void on_engine_lost(const EngineFault&, TimePoint) {}
  // The engine died twice while it ran this request alone: it ends with an error of ours (HTTP 500). Comes between
  // on_engine_lost and start.
  virtual void on_request_poisoned(RequestId request, const std::string& message, TimePoint now) {
    on_events({RequestFailedEvent{request, false, std::string(kRequestPoisoned) + ": " + message}}, now);
  }
  virtual void on_restart_counters(const RestartCounters&) {}  // after each end of an attempt: for metrics
  // SIGTERM: admit nothing more. True: what is accepted should be finished, within the shutdown timeout; the loop then
  // waits for done(). False: cancel() follows.
  virtual bool drain() { return false; }
  virtual void on_ranks(const std::vector<RankState>&, TimePoint) {}     // as often as on_tick, while there are any
  virtual void on_started(const std::vector<RequestId>&, TimePoint) {}  // plans name them; possibly again later
  virtual void on_tick(TimePoint) {}  // some 20 times a second: progress bars
  virtual void cancel() = 0;          // the user has had enough: nothing more is submitted
  virtual bool done() const = 0;
  virtual int exit_code() const = 0;  // once done
  virtual void finish(TimePoint) {}   // after the engine has stopped cleanly: summaries
  virtual void release_port() {}      // the loop ends, however it ends: the port goes with it
};

}  // namespace trireme
