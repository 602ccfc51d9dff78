#pragma once
// Temporary and shared-memory files of one attempt live in one directory (0700), which is removed whatever happens:
// a janitor, a small forked process, waits at the end of a pipe and cleans up when its owner vanishes, even by SIGKILL.
// The janitor is forked: the thread that creates the directory must hold no lock that the child could want.

#include <sys/types.h>

#include <string>
#include <vector>

#include "protocol/socket.h"

namespace trireme {

// In the environment of ranks: the attempt's directory, and a name of the front that is the same in all its attempts.
inline constexpr const char* kAttemptDirectoryName = "TRIREME_ATTEMPT_DIRECTORY";
inline constexpr const char* kFrontName = "TRIREME_FRONT";

class AttemptDirectory {
 public:
  AttemptDirectory();   // throws Error when no directory can be made
  ~AttemptDirectory();  // removes it; then lets the janitor go
  AttemptDirectory(const AttemptDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  void release_janitor();  // there is nothing for it to do

  std::string path_;
  FileDescriptor pipe_;
  pid_t janitor_ = -1;
};

// Is `pid` a process of the attempt that owns `directory`? Read from its environment, so that neither a number the
// kernel has given to somebody else since, nor one of another pid namespace, is ever taken for a rank and killed.
bool belongs_to_attempt(pid_t pid, const std::string& directory);
// All of this host, but not the caller: mpirun, ranks, and what mpirun started to reach other hosts (ssh, srun).
std::vector<pid_t> attempt_processes(const std::string& directory);

// On a host other than the front's nobody owns the attempt's directory: the first rank there (by the environment)
// forks a janitor that cleans up once that rank has ended. MPI's daemon goes too, if it has not gone by itself: cut off
// from mpirun it would wait for minutes. First it kills what the same front's attempts of before have left here: a rank
// that was stopped while its host was cut off could not end itself, and still holds its GPU's memory. Call before any
// thread exists.
void start_host_janitor();

}  // namespace trireme
