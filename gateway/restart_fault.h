#pragma once
// Mistakes in restart and replay that a simulator plants to prove that it would find them
// (tests/launcher/restart_simulator_test.cpp). Programs pass none; each is one comparison where the mistake would be
// made, the last two in the simulated front.

#include <cstdint>

namespace trireme {

enum class RestartFault : uint8_t {
  none,
  emitted_forgotten,     // a replay starts from the prompt although tokens are out
  last_token_forgotten,  // a replay lacks the newest token
  ends_forgotten,        // a replay begins choices again that have ended
  scores_asked_again,    // complete prompt scores are asked for once more
  seed_redrawn,          // a replay draws with another seed
  replay_incomplete,     // one unfinished request is not submitted again
  progress_ignored,      // a new token does not clear a request
  all_blamed,            // every open request is a suspect, announced or not
  load_failures_forgotten,  // attempts that never get ready are started for ever
  config_restarted,      // a wrong flag is tried again
  poisoned_too_early,    // one crash alone is enough
  poisoned_in_company,   // a crash beside others counts as one alone
  never_poisoned,        // a request that always kills is run for ever
  half_forgotten,        // the second half of the suspects is never tried
  held_leaks,            // requests that are no suspects run beside them
  held_forgotten,        // what was held back during a trial stays held back
  late_bytes_read,       // what a dead attempt still sends reaches the job
  attempt_unchecked,     // frames of a dead attempt pass for those of the next
  count,
};

const char* restart_fault_name(RestartFault fault);

}  // namespace trireme
