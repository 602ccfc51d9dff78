#pragma once
// Plays one seed of a front over engines that die: the real job, ledger, gate, supervisor, codec and, in each attempt,
// the real engine over simulated ranks. What joins them is a pipe of bytes that is cut anywhere, and bytes of dead
// attempts that arrive late. The outcome must be that of a run in which nothing died.

#include <optional>
#include <string>

#include "gateway/restart_fault.h"

namespace trireme::test {

struct RestartOutcome {
  std::optional<std::string> error;  // what was wrong; nothing when all is well
  int64_t rounds = 0, attempts = 0, replayed_tokens = 0, poisoned = 0, trials = 0, never_ready = 0;
};

RestartOutcome simulate_restarts(uint64_t seed, RestartFault fault = RestartFault::none, bool trace = false);

}  // namespace trireme::test
