#pragma once
// Runs a job on an engine until one of them ends: the only loop of a front.

#include "gateway/engine_client.h"
#include "gateway/front_job.h"
#include "launcher/engine_host.h"

namespace trireme {

inline constexpr int kExitOk = 0, kExitError = 1, kExitUsage = 2;  // 70: an engine that failed (protocol/link.h)

struct FrontLoopOptions {
  bool verbose = false;
  int world = 1;
};

// Returns the exit code of the command; everything the engine consisted of is gone then. A failure prints one line on
// standard error (with `verbose` also one per rank and mpirun's last words).
int run_front(EngineClient& client, EngineHost& host, FrontJob& job, const FrontLoopOptions& options);

}  // namespace trireme
