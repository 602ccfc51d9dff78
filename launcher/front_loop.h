#pragma once
// Runs a job on an engine, attempt after attempt: the only loop of a front. What an attempt ends in is the supervisor's
// to judge (supervisor.h); the job, and whatever it listens on, lives through all of them.

#include <functional>
#include <memory>
#include <string>

#include "gateway/engine_client.h"
#include "gateway/front_job.h"
#include "launcher/device_memory.h"
#include "launcher/engine_host.h"
#include "launcher/supervisor.h"

namespace trireme {

inline constexpr int kExitOk = 0, kExitError = 1, kExitUsage = 2;  // 70, 71: protocol/link.h, 72: supervisor.h

// One start of the engine. Its end destroys it: nothing more is read from it then.
class EngineAttempt {
 public:
  virtual ~EngineAttempt() = default;
  virtual EngineClient& client() = 0;
  virtual EngineHost& host() = 0;
};

// Throws Error when it cannot be started.
using StartAttempt = std::function<std::unique_ptr<EngineAttempt>(uint32_t number)>;

struct FrontLoopOptions {
  bool verbose = false;
  bool outer_run = false;  // an outer mpirun or srun holds the ranks, and no signal but ours ends them
  SupervisorOptions supervision;
  Duration shutdown_timeout = std::chrono::seconds(30);  // of jobs that drain
  Duration host_timeout = std::chrono::seconds(600);     // a start waits so long for hosts that cannot be reached
  std::string report_directory;                          // empty: no reports
  DeviceMemory* devices = nullptr;                       // null: nothing to wait for between attempts
};

// Returns the exit code of the command; everything the engine consisted of is gone then. A failure prints one line on
// standard error (with `verbose` also one per rank and mpirun's last words).
int run_front(const StartAttempt& start, FrontJob& job, const FrontLoopOptions& options);

}  // namespace trireme
