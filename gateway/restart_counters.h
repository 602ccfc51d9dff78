#pragma once
// How often attempts of the engine ended, and why: for metrics.

#include <array>
#include <cstddef>
#include <cstdint>

namespace trireme {

enum class RestartCause : uint8_t {
  rank_died,    // end of file
  rank_silent,  // stopped or cut off
  rank_hung,    // nobody moves
  load_stalled,
  rank_failed,  // it said so itself
  protocol,     // it said what cannot be understood
  mpirun,       // ended, stopped, or could not be started
  count,
};
const char* restart_cause_name(RestartCause cause);  // "rank_died": a metric's label

struct RestartCounters {
  std::array<int64_t, size_t(RestartCause::count)> ends{};  // of attempts, by cause; those that ended the program too
  int64_t restarts = 0;
  int64_t poisoned = 0;  // requests
  int64_t& of(RestartCause cause) { return ends[size_t(cause)]; }
  int64_t of(RestartCause cause) const { return ends[size_t(cause)]; }
  bool operator==(const RestartCounters&) const = default;
};

}  // namespace trireme
