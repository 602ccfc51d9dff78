#pragma once
// The communication libraries, for --version. May be called before MPI is started.

#include <string>

namespace trireme {

std::string mpi_version_text();    // "Open MPI v4.1.4"
std::string nccl_version_text();   // "2.28.9", or that this build has none
std::string cuda_version_text();   // the runtime's: "13.0", or that this build has none

}  // namespace trireme
