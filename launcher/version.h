#pragma once
// What --version prints: program, commit and build type, CUDA and GPU architectures, NCCL, MPI.

#include <string>

namespace trireme {

std::string version_text();
std::string short_version();  // "0.1.0"

}  // namespace trireme
