#include "gateway/restart_fault.h"

#include <cstddef>

namespace trireme {

const char* restart_fault_name(RestartFault fault) {
  static constexpr const char* kNames[] = {"none",
                                           "emitted_forgotten",
                                           "last_token_forgotten",
                                           "ends_forgotten",
                                           "scores_asked_again",
                                           "seed_redrawn",
                                           "replay_incomplete",
                                           "progress_ignored",
                                           "all_blamed",
                                           "load_failures_forgotten",
                                           "config_restarted",
                                           "poisoned_too_early",
                                           "poisoned_in_company",
                                           "never_poisoned",
                                           "half_forgotten",
                                           "held_leaks",
                                           "held_forgotten",
                                           "late_bytes_read",
                                           "attempt_unchecked"};
  static_assert(sizeof kNames / sizeof *kNames == size_t(RestartFault::count));
  return kNames[size_t(fault)];
}

}  // namespace trireme
