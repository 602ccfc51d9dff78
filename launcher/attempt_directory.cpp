#include "launcher/attempt_directory.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/check.h"
#include "protocol/endpoint.h"

namespace trireme {
namespace {

constexpr const char* kOwnerMark = "front";  // a file that only the front's own host has
constexpr const char* kJanitor = "trireme-janitor";
constexpr int kSweeps = 30;             // x 100 ms: ranks that still end may still make files
constexpr int kEndPatience = 1000;      // x 10 ms: a killed rank gives its GPU's memory back
constexpr int kDaemonPatienceMs = 500;  // what MPI's daemon takes to end when it knows that it should

bool has_variable(pid_t pid, const char* name, const std::string& value) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  const std::string mark = std::string(name) + "=" + value;
  for (std::string variable; std::getline(file, variable, '\0');)
    if (variable == mark) return true;
  return false;  // gone, a zombie, or somebody else's
}

template <typename Predicate>
std::vector<pid_t> processes_that(const Predicate& is_wanted) {
  std::vector<pid_t> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t pid = 0;
    const auto [stop, failure] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failure != std::errc() || stop != name.data() + name.size() || pid == getpid()) continue;
    if (is_wanted(pid)) found.push_back(pid);
  }
  return found;
}

std::string program_name(pid_t pid) {
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/comm"), name);
  return name;
}

// Removes `path` and waits until nobody makes it again: ranks end within a second of their front.
void sweep(const std::string& path) {
  int clean = 0;
  bool alive = true;
  for (int i = 0; i < kSweeps && clean < 10; ++i) {
    if (alive) {
      const std::vector<pid_t> processes = attempt_processes(path);
      for (pid_t pid : processes) ::kill(pid, SIGKILL);
      alive = !processes.empty();
    }
    std::error_code error;
    const bool there = std::filesystem::exists(path, error);
    std::filesystem::remove_all(path, error);
    clean = there || alive ? 0 : clean + 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// Leaves the owner's session, its descriptors and its signals.
void detach(int keep) {
  setsid();
  prctl(PR_SET_NAME, kJanitor);
  prctl(PR_SET_PDEATHSIG, 0);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGUSR2}) ::signal(signal, SIG_IGN);
  const int null = ::open("/dev/null", O_RDWR);
  for (int target : {0, 1, 2}) dup2(null, target);
  // All of them: a client's connection that the janitor held would outlive the front.
  if (keep > 3) ::close_range(3, unsigned(keep) - 1, 0);
  ::close_range(unsigned(std::max(keep, 2)) + 1, ~0u, 0);
  if (::chdir("/") != 0) _exit(1);
}

// A handle, so that a number which the kernel has given to somebody else since is never killed; -1: there is none.
int open_daemon(pid_t pid) {
  const std::string name = pid > 1 ? program_name(pid) : "";
  return name == "orted" || name == "prted" ? int(::syscall(SYS_pidfd_open, pid, 0)) : -1;
}

void end_daemon(int handle) {
  pollfd entry{handle, POLLIN, 0};
  if (::poll(&entry, 1, kDaemonPatienceMs) == 0) ::syscall(SYS_pidfd_send_signal, handle, SIGKILL, nullptr, 0);
}

// Waits until the owner's end of the pipe closes. A byte says that the owner has cleaned up itself.
[[noreturn]] void run_janitor(int pipe, const std::string& path, pid_t daemon) {
  detach(pipe);
  const int handle = open_daemon(daemon);
  char byte = 0;
  if (::read(pipe, &byte, 1) == 1) _exit(0);
  if (handle >= 0) end_daemon(handle);
  sweep(path);
  _exit(0);
}

// Returns the writing end; `child` gets the janitor's pid (it is a child of this process). `daemon`: MPI's, 0 for none.
FileDescriptor fork_janitor(const std::string& path, pid_t& child, pid_t daemon = 0) {
  int ends[2];
  CHECK_EQ(pipe2(ends, O_CLOEXEC), 0) << "pipe";
  child = fork();
  CHECK_GE(child, 0) << "fork";
  if (child == 0) run_janitor(ends[0], path, daemon);
  ::close(ends[0]);
  return FileDescriptor(ends[1]);
}

}  // namespace

bool belongs_to_attempt(pid_t pid, const std::string& directory) {
  return has_variable(pid, kAttemptDirectoryName, directory);
}

std::vector<pid_t> attempt_processes(const std::string& directory) {
  return processes_that([&directory](pid_t pid) { return belongs_to_attempt(pid, directory); });
}

// The janitor first, the directory after it: there is no moment at which the owner's death leaves a directory that
// nobody knows of. The name is random, so that a janitor never waits at the name of somebody else's.
AttemptDirectory::AttemptDirectory() {
  // Memory first: MPI's shared-memory segments lie here, and on a disk their pages would be written back.
  const char* temporary = std::getenv("TMPDIR");
  for (const std::string base : {"/dev/shm", temporary && *temporary ? temporary : "/tmp"}) {
    const std::string path = base + "/trireme-" + make_attempt_key().substr(0, 12);
    if (::access(base.c_str(), W_OK | X_OK) != 0) continue;
    pipe_ = fork_janitor(path, janitor_);
    if (::mkdir(path.c_str(), 0700) == 0) {
      path_ = path;
      break;
    }
    release_janitor();
  }
  if (path_.empty()) throw Error("cannot make a directory in /dev/shm or /tmp: set TMPDIR to a writable directory");
  std::ofstream(path_ + "/" + kOwnerMark) << getpid() << "\n";
}

AttemptDirectory::~AttemptDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (!std::filesystem::exists(path_, error)) release_janitor();  // else it goes on sweeping without us
}

void AttemptDirectory::release_janitor() {
  [[maybe_unused]] const ssize_t ignored = ::write(pipe_.get(), "", 1);
  pipe_.close();
  ::waitpid(janitor_, nullptr, 0);
}

// Janitors stay: they clean up once the ranks are gone.
static void end_older_attempts(const std::string& front, const std::string& directory) {
  const auto is_older = [&](pid_t pid) {
    return has_variable(pid, kFrontName, front) && !belongs_to_attempt(pid, directory) && program_name(pid) != kJanitor;
  };
  std::vector<pid_t> left = processes_that(is_older);
  for (pid_t pid : left) ::kill(pid, SIGKILL);
  for (int i = 0; !left.empty() && i < kEndPatience; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::erase_if(left, [&](pid_t pid) { return !is_older(pid); });
  }
}

void start_host_janitor() {
  const char* path = std::getenv(kAttemptDirectoryName);
  const char* local_rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  if (!path || !*path || !local_rank || std::string(local_rank) != "0") return;
  // Only a directory of our making, and not the front's own.
  if (std::string(path).find("/trireme-") == std::string::npos ||
      ::access((std::string(path) + "/" + kOwnerMark).c_str(), F_OK) == 0)
    return;
  if (const char* front = std::getenv(kFrontName); front && *front) end_older_attempts(front, path);
  ::mkdir(path, 0700);  // vader's backing directory must exist; mpirun's daemon may have made it
  pid_t child = -1;
  static FileDescriptor pipe;  // lives as long as the process
  pipe = fork_janitor(path, child, getppid());
}

}  // namespace trireme
