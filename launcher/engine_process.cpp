#include "launcher/engine_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace trireme {
namespace {

constexpr size_t kKeptLines = 40, kLongestLine = 2000;
constexpr Duration kKillPatience = std::chrono::seconds(3);

TimePoint now() { return std::chrono::steady_clock::now(); }

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

// srun that is killed leaves its step's processes to run and its part of the allocation held.
bool ends_its_step_when_asked(pid_t process) {
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(process) + "/comm"), name);
  return name == "srun";
}

// Of the session's group of the kernel's scheduler, which shares out cores among sessions before it does among their
// processes; "" where there is none (CONFIG_SCHED_AUTOGROUP). The file says "/autogroup-25 nice 19".
std::string session_niceness() {
  std::string word, value;
  std::ifstream("/proc/self/autogroup") >> word >> word >> value;
  return value == "0" ? "" : value;
}

// After fork: only calls that are safe there. A session of its own begins at niceness 0: ranks beside a front whose
// session stands back would leave it hardly any time on a full machine.
[[noreturn]] void run_child(char* const* arguments, char* const* environment, std::string_view niceness, int output,
                            int errors, pid_t parent) {
  setsid();  // Ctrl-C at the terminal is the front's to answer
  if (const int file = niceness.empty() ? -1 : ::open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC); file >= 0) {
    [[maybe_unused]] const ssize_t refused = ::write(file, niceness.data(), niceness.size());
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_DFL);
  dup2(::open("/dev/null", O_RDONLY), 0);
  dup2(output, 1);
  dup2(output, 2);
  execvpe(arguments[0], arguments, environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t ignored = ::write(errors, &error, sizeof error);
  _exit(127);
}

}  // namespace

EngineProcess::EngineProcess(const Command& command, AttemptDirectory& directory, bool echo)
    : directory_(directory), echo_(echo) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // ranks whose mpirun is gone become ours, so that their end can be awaited
  int output[2], errors[2];
  CHECK_EQ(pipe2(output, O_CLOEXEC), 0) << "pipe";
  CHECK_EQ(pipe2(errors, O_CLOEXEC), 0) << "pipe";
  output_ = FileDescriptor(output[0]);
  const FileDescriptor output_end(output[1]), errors_begin(errors[0]);
  FileDescriptor errors_end(errors[1]);
  const std::vector<char*> arguments = pointers(command.arguments), environment = pointers(command.environment);
  const std::string niceness = session_niceness();
  const pid_t parent = getpid();
  pid_ = fork();
  CHECK_GE(pid_, 0) << "fork";
  if (pid_ == 0) run_child(arguments.data(), environment.data(), niceness, output[1], errors[1], parent);

  errors_end.close();
  int error = 0;
  if (::read(errors_begin.get(), &error, sizeof error) == ssize_t(sizeof error)) {
    ::waitpid(pid_, nullptr, 0);
    ended_ = true;
    throw Error("cannot start " + command.arguments[0] + ": " + std::strerror(error) +
                "; install Open MPI (Debian, Ubuntu: apt install openmpi-bin)");
  }
  fcntl(output_.get(), F_SETFL, O_NONBLOCK);
}

EngineProcess::~EngineProcess() { kill(); }

void EngineProcess::collect() {
  char buffer[4096];
  for (int i = 0; i < 64; ++i) {
    const ssize_t count = ::read(output_.get(), buffer, sizeof buffer);
    if (count <= 0) return;
    partial_.append(buffer, size_t(count));
    for (size_t end; (end = partial_.find('\n')) != std::string::npos || partial_.size() > kLongestLine;) {
      const size_t length = std::min(end, kLongestLine);
      lines_.push_back(partial_.substr(0, length));
      partial_.erase(0, end == std::string::npos ? length : end + 1);
      if (echo_) std::fprintf(stderr, "[mpirun] %s\n", lines_.back().c_str());
      if (lines_.size() > kKeptLines) lines_.pop_front();
    }
  }
}

bool EngineProcess::reap() {
  if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return ended_;
}

std::optional<HostTrouble> EngineProcess::trouble() {
  collect();
  const std::string name = "mpirun (pid " + std::to_string(pid_) + ")";
  siginfo_t info{};
  if (!ended_ && waitid(P_PID, id_t(pid_), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_)
    return HostTrouble{.text = name + " was stopped", .by_signal = true};
  if (!reap()) return std::nullopt;
  if (WIFSIGNALED(status_))
    return HostTrouble{.text = name + " was killed (" + strsignal(WTERMSIG(status_)) + ")", .by_signal = true};
  const int status = WEXITSTATUS(status_);  // 128 and more: of a rank that a signal killed
  return HostTrouble{.text = name + " ended with status " + std::to_string(status), .refused = status < 128};
}

bool EngineProcess::wait_for_end(Duration timeout) {
  for (const TimePoint deadline = now() + timeout; now() < deadline; ::usleep(2000)) {
    collect();
    if (reap()) return true;
  }
  return false;
}

void EngineProcess::kill() {
  if (pid_ < 0) return;
  // mpirun first: it would start nothing again, but it must not report its ranks' deaths as news. Then what it leaves:
  // ranks, and the ssh or srun by which it reached other hosts.
  const TimePoint deadline = now() + kKillPatience;
  if (!reap()) ::kill(pid_, SIGKILL);
  while (!reap() && now() < deadline) ::usleep(1000);
  std::vector<pid_t> left = attempt_processes(directory_.path());
  for (pid_t process : left) ::kill(process, ends_its_step_when_asked(process) ? SIGTERM : SIGKILL);
  for (; !left.empty() && now() < deadline; ::usleep(2000))
    std::erase_if(left, [this](pid_t process) {
      ::waitpid(process, nullptr, WNOHANG);  // ours, its parent being gone
      return !belongs_to_attempt(process, directory_.path());
    });
  for (pid_t process : left) ::kill(process, SIGKILL);
  collect();
  pid_ = -1;
}

std::vector<std::string> EngineProcess::output_tail() {
  collect();
  return {lines_.begin(), lines_.end()};
}

}  // namespace trireme
