#pragma once
// --profile FILE: the ranks' parts as one Chrome trace (chrome://tracing, Perfetto), and where a step's time went.

#include <string>
#include <vector>

#include "base/json.h"
#include "launcher/command_line.h"
#include "runtime/step_profiler.h"

namespace trireme {

// Milliseconds per recorded step of one rank. Where spans overlap, the earlier one has the time, so the parts of the
// device's work and its idle time add up to the step.
struct StepBreakdown {
  double step = 0, busy = 0;                 // from the first device span's start to the last one's end / steps
  double parts[kDeviceCategories] = {};      // by SpanCategory
  double idle() const { return step - busy; }
  double idle_fraction() const { return step > 0 ? idle() / step : 0; }
};
StepBreakdown step_breakdown(const ProfilePart& part);

// {"traceEvents": [...]}: pid = rank, tid = thread or stream; times in microseconds from the first span.
std::string chrome_trace(const std::vector<ProfilePart>& parts);

// Rank 0's parts, ms and %, one per line, and a line for each other rank; `floor_ms`: of a decode step, 0: unknown.
std::string breakdown_text(const std::vector<ProfilePart>& parts, double floor_ms);
json::array breakdown_figures(const std::vector<ProfilePart>& parts);

// The folder of the ranks' parts while the engine runs. Nothing happens where the options ask for no profile.
class ProfileTrace {
 public:
  explicit ProfileTrace(const RunOptions& options);  // throws ConfigError when there can be no such folder
  ~ProfileTrace();                                   // removes it
  ProfileTrace(const ProfileTrace&) = delete;

  // When the ranks have ended: writes the trace and says on standard error what is missing. Empty: no profile.
  std::vector<ProfilePart> finish();

 private:
  std::vector<ProfilePart> read_parts() const;

  std::string file_, directory_;
  int world_;
};

}  // namespace trireme
