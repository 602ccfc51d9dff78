#pragma once
// One rank of the engine: MPI, the device, the model's shard, the link to the front; on rank 0 the coordinator too.

#include <functional>
#include <string>

#include "launcher/engine_options.h"

namespace trireme {

// Returns rank 0's text on every rank. Collective: every rank calls it once, at the same point.
using BroadcastText = std::function<std::string(std::string)>;

// Under an outer mpirun or srun rank 0 holds the front in its own process (launcher/embedded.h), and the other
// ranks learn its address by MPI.
struct EngineHooks {
  // Set: engine_main calls it once on every rank, on the MPI thread, right after MPI started (before anything
  // that may take long), with a broadcast over all ranks; the result is the endpoint to dial, in place of
  // options.front. Not set: options.front is dialled BEFORE MPI is started, so that joining is watched too.
  std::function<FrontEndpoint(const BroadcastText& broadcast)> resolve_front;
};

// Runs until the front's ShutdownCommand has been carried out on all ranks; returns 0 then.
// How it ends otherwise: an exception after the link exists is reported and the process left by FrontLink::fail(error),
// never by unwinding into MPI_Finalize. An exception before the link exists (a ConfigError of Cluster's, the same on
// every rank) may leave engine_main: the caller prints one line and exits.
int engine_main(const EngineOptions& options, const EngineHooks& hooks = {});

}  // namespace trireme
