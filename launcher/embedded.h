#pragma once
// `mpirun -n 4 trireme generate ...`, `srun --mpi=pmix trireme generate ...`: this process is a rank already. Rank 0
// runs its share of the engine on the main thread and the front on another, behind the same protocol (TCP, a key
// that travels by MPI); the other ranks are engine only and print nothing but an error that rank 0 has not seen. A
// failure ends all of them with 70.

#include <string>

#include "launcher/run_engine.h"

namespace trireme {

// Started by an mpirun or srun as one of several? Throws ConfigError under srun without PMIx, where MPI would start
// as many separate worlds of one rank.
bool inside_outer_run();

// Throws Error on the ranks that see one before there is a front (run_program says it once for all).
int run_embedded(const RunOptions& options, const MakeJob& make_job);

// This host's first address that is not the loopback's; its name where there is none.
std::string outward_address();

}  // namespace trireme
