#pragma once
// The mpirun line and its environment, as a pure function: what is started can be printed, tested and typed again.

#include <string>
#include <vector>

#include "launcher/engine_options.h"

namespace trireme {

struct LaunchOptions {
  std::string hostfile;                  // mpirun's --hostfile; empty: this host only
  std::vector<std::string> launch_args;  // passed to mpirun as they are, one argument each
  std::string program;                   // absolute path of this program; started on every host
  std::string mpirun = "mpirun";
};

struct Command {
  std::vector<std::string> arguments;    // [0] is looked up in PATH
  std::vector<std::string> environment;  // "NAME=value"
};

// Do the ranks certainly all run on this host?
bool is_one_host(const LaunchOptions& options);

// `environment`: the front's own. An outer MPI's variables are taken out of it (mpirun refuses to nest), the attempt's
// key is put in; NCCL_*, CUDA_*, TRIREME_* are forwarded to remote ranks by name (mpirun forwards OMPI_MCA_* itself).
Command make_mpirun_command(const EngineOptions& engine, const LaunchOptions& options,
                            const std::string& attempt_directory, const std::vector<std::string>& environment);

// For people: one line that a shell would read back as the same arguments.
std::string shell_line(const std::vector<std::string>& arguments);

std::vector<std::string> current_environment();

// The hosts a hostfile names, in order. Throws ConfigError when it cannot be read or names none.
std::vector<std::string> hostfile_hosts(const std::string& path);

}  // namespace trireme
