#pragma once
// Holds the plans of an engine against its batching policy, from outside: by the requests that came, were announced
// with a plan, and ended.

#include <map>
#include <set>
#include <span>

#include "coordinator/batching.h"
#include "protocol/events.h"

namespace trireme::test {

class BatchChecker {
 public:
  BatchChecker(const BatchingOptions& options, int32_t num_slots);

  void note(const EngineCommand& command, TimePoint received);
  // One round of the engine's loop: requests of the plan it submitted, if any, and what it emitted afterwards.
  void check_round(std::span<const RequestId> planned, std::span<const EngineEvent> events, TimePoint now);

 private:
  struct Known {
    TimePoint since;
    int32_t sequences = 0, open_choices = 0;
    bool started = false;
  };
  bool any_started() const;
  void note(const EngineEvent& event);
  bool batch_is_due(TimePoint now) const;

  BatchingOptions options_;
  int32_t size_;
  bool stopping_ = false;
  std::map<RequestId, Known> open_;  // not ended
  std::set<RequestId> candidates_;   // may be of the running batch
  int32_t sequences_ = 0;            // of it
};

}  // namespace trireme::test
