#include "tests/launcher/support/whole_program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace trireme::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool alive(pid_t pid) {
  const std::string stat = slurp("/proc/" + std::to_string(pid) + "/stat");
  const size_t end = stat.rfind(')');
  return end != std::string::npos && end + 2 < stat.size() && stat[end + 2] != 'Z';
}

// pid -> command line, of all processes below `root`.
std::map<pid_t, std::string> descendants(pid_t root) {
  std::map<pid_t, std::vector<pid_t>> children;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string stat = slurp(entry.path() / "stat");
    const size_t end = stat.rfind(')');
    if (end == std::string::npos) continue;
    std::istringstream rest(stat.substr(end + 4));
    pid_t parent = 0;
    rest >> parent;
    children[parent].push_back(pid_t(std::stol(name)));
  }
  std::map<pid_t, std::string> found;
  std::vector<pid_t> open = {root};
  while (!open.empty()) {
    const pid_t pid = open.back();
    open.pop_back();
    for (pid_t child : children[pid]) {
      std::string line = slurp("/proc/" + std::to_string(child) + "/cmdline");
      std::replace(line.begin(), line.end(), '\0', ' ');
      found[child] = line;
      open.push_back(child);
    }
  }
  return found;
}

}  // namespace

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

bool eventually(const std::function<bool()>& holds, milliseconds timeout) {
  for (const auto deadline = Clock::now() + timeout; Clock::now() < deadline;
       std::this_thread::sleep_for(milliseconds(20)))
    if (holds()) return true;
  return holds();
}

bool send(pid_t pid, int signal) { return pid > 1 && ::kill(pid, signal) == 0; }

Program::Program(const std::vector<std::string>& arguments, const std::string& fake, const std::string& input) {
  static int count = 0;
  folder_ = testing::TempDir() + "/lifecycle_" + std::to_string(getpid()) + "_" + std::to_string(count++);
  fs::create_directories(folder_);
  std::ofstream(folder_ / "in") << input;
  pid_ = fork();
  if (pid_ == 0) {
    dup2(::open((folder_ / "in").c_str(), O_RDONLY), 0);
    dup2(::open((folder_ / "out").c_str(), O_WRONLY | O_CREAT, 0600), 1);
    dup2(::open((folder_ / "err").c_str(), O_WRONLY | O_CREAT, 0600), 2);
    setenv("TRIREME_FAKE", fake.c_str(), 1);
    setenv("XDG_STATE_HOME", folder_.c_str(), 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
}

Program::~Program() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  fs::remove_all(folder_);
}

int Program::wait(milliseconds timeout) {
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, timeout)) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Program::settle(size_t ranks) {
  ASSERT_TRUE(eventually([&] { return !out().empty(); }, seconds(60))) << err();
  // /proc's list of children may miss some while processes come and go: look until all are there.
  eventually(
      [&] {
        find_processes();
        return engine.size() == ranks;
      },
      seconds(20));
  ASSERT_EQ(engine.size(), ranks);
  ASSERT_TRUE(fs::exists(directory));
}

void Program::find_processes() {
  engine.clear();
  processes_ = descendants(pid_);
  for (const auto& [pid, line] : processes_) {
    if (line.find("mpirun -n") != std::string::npos) {
      mpirun = pid;
      std::istringstream words(line);
      for (std::string word; words >> word;)
        if (word == "orte_tmpdir_base") words >> directory;
    } else if (line.find(" engine --model") != std::string::npos) {
      engine.push_back(pid);
    }
  }
}

pid_t Program::engine_rank(int rank) const {
  for (pid_t pid : engine)
    if (slurp("/proc/" + std::to_string(pid) + "/environ").find("OMPI_COMM_WORLD_RANK=" + std::to_string(rank)) !=
        std::string::npos)
      return pid;
  return -1;
}

std::string Program::states() const {
  std::string text;
  for (const auto& [pid, line] : processes_) {
    const std::string proc = "/proc/" + std::to_string(pid);
    int sockets = 0;
    std::error_code error;
    for (fs::directory_iterator fd(proc + "/fd", error), end; !error && fd != end; fd.increment(error))
      sockets += fs::read_symlink(fd->path(), error).string().rfind("socket:", 0) == 0;
    text += slurp(proc + "/stat").substr(0, 60) + " sockets " + std::to_string(sockets) + "\n";
  }
  return text + "front " + slurp("/proc/" + std::to_string(pid_) + "/stat").substr(0, 60) + "\n";
}

void Program::expect_gone(milliseconds timeout) const {
  EXPECT_TRUE(eventually(
      [&] {
        if (fs::exists(directory)) return false;
        for (const auto& [pid, line] : processes_)
          if (alive(pid)) return false;
        return true;
      },
      timeout))
      << "directory " << fs::exists(directory);
  for (const auto& [pid, line] : processes_) EXPECT_FALSE(alive(pid)) << pid << " " << line;
}

std::vector<std::string> generate(int tp, int pp, const std::vector<std::string>& more) {
  const std::string model = std::string(TRIREME_SOURCE_DIR) + "/configs/models/smollm2-135m.json";
  std::vector<std::string> arguments = {FAKE_TRIREME, "generate",         model, "--load-format",
                                        "dummy",      "--device",         "cpu", "--skip-tokenizer-init",
                                        "-tp",        std::to_string(tp), "-pp", std::to_string(pp)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace trireme::test
