#pragma once
// One file per failure: what an operator needs to say which rank died, where, doing what, and for whom. Plain text.

#include <optional>
#include <string>
#include <vector>

#include "protocol/request.h"

namespace trireme {

inline constexpr size_t kKeptReports = 20;  // in one directory; older ones are removed

struct FailureReport {
  uint32_t attempt = 1;
  std::string cause{};             // "rank_died"; "live": asked for while all is well
  std::string summary{};           // the one line
  std::string outcome{};           // "attempt 2 starts in 1 s"
  std::vector<std::string> ranks{};  // one line per rank: host, pid, GPU, phase, step, last operation
  std::vector<RequestId> suspects{}, poisoned{};
  std::vector<std::string> mpirun_tail{};
};

std::string report_text(const FailureReport& report, const std::string& time);

// Returns the file's path; nothing when it cannot be written (a report never makes things worse).
std::optional<std::string> write_report(const std::string& directory, const FailureReport& report);

// $XDG_STATE_HOME/trireme/reports, else ~/.local/state/trireme/reports; empty where there is no home.
std::string default_report_directory();

}  // namespace trireme
