#pragma once
// mpirun as a child: started in its own session, killed with us (PR_SET_PDEATHSIG), its output collected, its end and
// its stop noticed. Start it from the main thread: the kernel's death signal follows the thread that forked.

#include <sys/types.h>

#include <deque>
#include <string>
#include <thread>

#include "launcher/attempt_directory.h"
#include "launcher/engine_host.h"
#include "launcher/mpirun_command.h"

namespace trireme {

class EngineProcess final : public EngineHost {
 public:
  // `echo`: its output goes to standard error as it comes; the last lines are kept either way.
  EngineProcess(const Command& command, AttemptDirectory& directory, bool echo);
  ~EngineProcess() override;

  pid_t pid() const { return pid_; }
  void watch(const std::vector<RankState>&) override { collect(); }
  std::optional<HostTrouble> trouble() override;
  bool wait_for_end(Duration timeout) override;
  void kill() override;
  std::vector<std::string> output_tail() override;

 private:
  void collect();  // reads what is there, never waits
  bool reap();     // has it ended?

  AttemptDirectory& directory_;
  bool echo_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
  FileDescriptor output_;
  std::string partial_;
  std::deque<std::string> lines_;  // at most 40
};

}  // namespace trireme
