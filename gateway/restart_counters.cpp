#include "gateway/restart_counters.h"

namespace trireme {

const char* restart_cause_name(RestartCause cause) {
  static constexpr const char* kNames[] = {"rank_died",   "rank_silent", "rank_hung", "load_stalled",
                                           "rank_failed", "protocol",    "mpirun"};
  static_assert(sizeof kNames / sizeof *kNames == size_t(RestartCause::count));
  return kNames[size_t(cause)];
}

}  // namespace trireme
