#pragma once
// What a command does with an engine, seen from the loop that runs both. All calls on one thread.

#include <vector>

#include "base/clock.h"
#include "gateway/engine_client.h"

namespace trireme {

class FrontJob {
 public:
  virtual ~FrontJob() = default;
  virtual void start(const EngineFacts& facts, RequestPort& port, TimePoint now) = 0;  // the engine is ready
  virtual void on_events(const std::vector<EngineEvent>& events, TimePoint now) = 0;
  // The attempt died; what it was given is gone, and so is its port. start() is called again for the next one.
  virtual void on_engine_lost(const EngineFault&) {}
  virtual void on_tick(TimePoint) {}  // some 20 times a second: progress bars
  virtual void cancel() = 0;          // the user has had enough: nothing more is submitted
  virtual bool done() const = 0;
  virtual int exit_code() const = 0;  // once done
  virtual void finish(TimePoint) {}   // after the engine has stopped cleanly: summaries
};

}  // namespace trireme
