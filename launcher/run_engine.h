#pragma once
// From options and a job to an exit code: the engine is started by our own mpirun, or this process is already a rank
// of an outer mpirun or srun and holds both (embedded.h).

#include <functional>
#include <memory>

#include "gateway/front_job.h"
#include "launcher/command_line.h"
#include "launcher/front_loop.h"

namespace trireme {

using MakeJob = std::function<std::unique_ptr<FrontJob>()>;  // reads files, may throw Error

// Call from the main thread: what kills mpirun with us follows the thread that forked it. Throws Error.
int run_with_engine(const RunOptions& options, const MakeJob& make_job);

FrontLoopOptions front_loop_options(const RunOptions& options);  // without devices

}  // namespace trireme
