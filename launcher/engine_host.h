#pragma once
// What holds the ranks, seen from the front's loop: mpirun as our child, or the outer mpirun that started us.

#include <optional>
#include <string>
#include <vector>

#include "gateway/rank_watch.h"

namespace trireme {

struct HostTrouble {
  std::string text{};      // one line; what holds the ranks ended or stands still
  bool refused = false;    // ended by itself with an exit code of its own: where no rank ever called, it never will
  bool by_signal = false;  // killed or stopped from outside: the cause of its ranks' ends, not their consequence
};

class EngineHost {
 public:
  virtual ~EngineHost() = default;
  virtual void watch(const std::vector<RankState>&) {}  // the ranks known so far, now and then
  virtual std::optional<HostTrouble> trouble() = 0;
  virtual bool wait_for_end(Duration timeout) = 0;               // after a clean stop
  virtual void kill() = 0;                                       // everything, at once, and waits; idempotent
  virtual std::vector<std::string> output_tail() { return {}; }  // what it printed last
};

}  // namespace trireme
