// The whole front under a real mpirun, around an engine that draws nothing (fake_trireme.cpp): outputs, exit codes,
// and that nothing is left behind whoever is killed.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

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

// Never 0, 1 or -1: kill() would take those for a group, for init, or for every process there is.
bool send(pid_t pid, int signal) { return pid > 1 && ::kill(pid, signal) == 0; }

class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const std::string& fake = "",
                   const std::string& input = "") {
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
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    fs::remove_all(folder_);
  }

  pid_t pid() const { return pid_; }
  std::string out() const { return slurp(folder_ / "out"); }
  std::string err() const { return slurp(folder_ / "err"); }

  // Exit code, 128 + signal, or -1 when it does not end in time.
  int wait(milliseconds timeout = seconds(60)) {
    int status = 0;
    if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, timeout)) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // Waits until `ranks` ranks run and tokens have come; fills mpirun's and the ranks' pids and the attempt's directory.
  void settle(size_t ranks) {
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

  void find_processes() {
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

  pid_t engine_rank(int rank) const {
    for (pid_t pid : engine)
      if (slurp("/proc/" + std::to_string(pid) + "/environ").find("OMPI_COMM_WORLD_RANK=" + std::to_string(rank)) !=
          std::string::npos)
        return pid;
    return -1;
  }

  // For a failed test: pid, state and command of the program and all below it.
  std::string states() const {
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

  // Everything that was there, janitor and directory included.
  void expect_gone(milliseconds timeout) const {
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

  pid_t mpirun = -1;
  std::vector<pid_t> engine;
  std::string directory;

 private:
  fs::path folder_;
  pid_t pid_ = -1;
  std::map<pid_t, std::string> processes_;
};

const std::string kModel = std::string(TRIREME_SOURCE_DIR) + "/configs/models/smollm2-135m.json";

std::vector<std::string> generate(int tp, int pp, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {FAKE_TRIREME, "generate",         kModel, "--load-format",
                                        "dummy",      "--device",         "cpu",  "--skip-tokenizer-init",
                                        "-tp",        std::to_string(tp), "-pp",  std::to_string(pp)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// Streams its first line at once, then keeps the engine busy for minutes.
const std::string kLongWork =
    "{\"prompt_token_ids\":[1],\"max_new_tokens\":1}\n{\"prompt_token_ids\":[2],\"max_new_tokens\":4000}\n";

TEST(Lifecycle, AnswersInTheOrderOfThePrompts) {
  std::string input;
  for (int i = 0; i < 40; ++i)
    input +=
        "{\"prompt_token_ids\":[" + std::to_string(i) + ",5],\"max_new_tokens\":" + std::to_string(1 + i % 7) + "}\n";
  Program program(generate(2, 2, {"--output-format", "json"}), "", input);
  ASSERT_EQ(program.wait(), 0) << program.err();
  std::istringstream lines(program.out());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_EQ(line.rfind("{\"index\":" + std::to_string(count) + ",\"prompt\":\"\",\"prompt_ids\":[" +
                             std::to_string(count) + ",5],\"outputs\":[{\"token_ids\":[" + std::to_string(count + 5),
                         0),
              0u)
        << line;
  EXPECT_EQ(count, 40);
  EXPECT_NE(program.err().find("40 prompts: 80 prompt tokens"), std::string::npos) << program.err();
}

TEST(Lifecycle, PrintsTheMpirunLineWhenVerbose) {
  Program program(generate(1, 1, {"-v", "--max-new-tokens", "3"}), "", "{\"prompt_token_ids\":[1]}\n");
  ASSERT_EQ(program.wait(), 0) << program.err();
  EXPECT_NE(program.err().find("trireme: mpirun -n 1 --bind-to none"), std::string::npos);
  EXPECT_NE(program.err().find("[rank 0] rank 0 is here"), std::string::npos) << program.err();
  EXPECT_EQ(program.out(), "1 14 27\n");
}

TEST(Lifecycle, ReportsAPromptThatCannotBeAndAnswersTheRest) {
  Program program(generate(1, 1, {"--output-format", "json", "--max-new-tokens", "1"}), "",
                  "{\"prompt_token_ids\":[5000]}\n{\"prompt_token_ids\":[1]}\n");
  EXPECT_EQ(program.wait(), 1) << program.err();
  EXPECT_NE(program.out().find("{\"index\":0,\"prompt\":\"\",\"prompt_ids\":[5000],\"error\":"), std::string::npos)
      << program.out();
  EXPECT_NE(program.out().find("{\"index\":1,"), std::string::npos);
}

struct Killing {
  const char* name;
  std::function<pid_t(const Program&)> victim;
  const char* words;  // in the one line
};

class LifecycleKill : public testing::TestWithParam<Killing> {};

TEST_P(LifecycleKill, LeavesNothingAndSaysWhoDied) {
  Program program(generate(2, 2, {"--output-format", "json", "--max-restarts", "0"}), "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(4));
  const auto begun = Clock::now();
  ASSERT_TRUE(send(GetParam().victim(program), SIGKILL));
  EXPECT_EQ(program.wait(seconds(5)), 70) << program.err();
  program.expect_gone(seconds(5) - std::chrono::duration_cast<milliseconds>(Clock::now() - begun));
  const std::string err = program.err();
  EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 1) << err;
  EXPECT_NE(err.find(GetParam().words), std::string::npos) << err;
  EXPECT_NE(err.find(", step "), std::string::npos) << err;
}

INSTANTIATE_TEST_SUITE_P(
    Of, LifecycleKill,
    testing::Values(Killing{"Rank0", [](const Program& p) { return p.engine_rank(0); }, "rank 0 on "},
                    Killing{"Rank3", [](const Program& p) { return p.engine_rank(3); }, "rank 3 on "},
                    Killing{"Mpirun", [](const Program& p) { return p.mpirun; }, "mpirun (pid "}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Lifecycle, LeavesNothingWhenTheCommandItselfIsKilled) {
  Program program(generate(2, 2, {"--output-format", "json"}), "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(4));
  ASSERT_TRUE(send(program.pid(), SIGKILL));
  EXPECT_EQ(program.wait(seconds(5)), 128 + SIGKILL);
  program.expect_gone(seconds(5));
}

// The kernel shares out cores among sessions first, and the engine has a session of its own.
TEST(Lifecycle, RanksStandBackWithTheirFront) {
  if (!fs::exists("/proc/self/autogroup")) GTEST_SKIP() << "this kernel does not group sessions";
  std::vector<std::string> arguments = {"setsid", "sh", "-c", "echo 7 >/proc/self/autogroup && exec \"$@\"", "sh"};
  const std::vector<std::string> command = generate(2, 1, {"--output-format", "json"});
  arguments.insert(arguments.end(), command.begin(), command.end());
  Program program(arguments, "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(2));
  for (const pid_t pid : program.engine)
    EXPECT_NE(slurp("/proc/" + std::to_string(pid) + "/autogroup").find(" nice 7"), std::string::npos) << pid;
}

TEST(Lifecycle, NoticesARankThatIsStopped) {
  Program program(generate(2, 1, {"--output-format", "json", "--max-restarts", "0"}), "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(2));
  const pid_t stopped = program.engine_rank(1);
  ASSERT_TRUE(send(stopped, SIGSTOP));
  EXPECT_EQ(program.wait(seconds(8)), 70) << program.err() << "stopped " << stopped << "\n" << program.states();
  program.expect_gone(seconds(5));
  EXPECT_NE(program.err().find("rank 1 on "), std::string::npos) << program.err();
  EXPECT_NE(program.err().find("stopped or cut off"), std::string::npos) << program.err();
}

TEST(Lifecycle, NoticesAnMpirunThatIsStopped) {
  Program program(generate(2, 1, {"--output-format", "json", "--max-restarts", "0"}), "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(2));
  ASSERT_TRUE(send(program.mpirun, SIGSTOP));
  EXPECT_EQ(program.wait(seconds(8)), 70) << program.err();
  program.expect_gone(seconds(5));
  EXPECT_NE(program.err().find("was stopped"), std::string::npos) << program.err();
}

TEST(Lifecycle, NoticesAnEngineThatHangs) {
  Program program(generate(2, 1, {"--output-format", "json", "--max-restarts", "0"}), "hang", kLongWork);
  EXPECT_EQ(program.wait(seconds(40)), 70) << program.err();
  EXPECT_NE(program.err().find("hung"), std::string::npos) << program.err();
}

TEST(Lifecycle, PassesOnARanksOwnWords) {
  Program failed(generate(2, 1, {"--output-format", "json", "--max-restarts", "0"}), "fail 1", kLongWork);
  EXPECT_EQ(failed.wait(), 70);
  EXPECT_NE(failed.err().find("last operation fake layer: a planted failure"), std::string::npos) << failed.err();
  Program mistaken(generate(2, 1, {"--output-format", "json"}), "config 1", kLongWork);
  EXPECT_EQ(mistaken.wait(), 2);
  EXPECT_EQ(mistaken.err(), "trireme: a planted mistake; do otherwise\n");
}

TEST(Lifecycle, EndsCleanlyOnSignals) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Program program(generate(2, 2, {"--output-format", "json"}), "slow", kLongWork);
    ASSERT_NO_FATAL_FAILURE(program.settle(4));
    ASSERT_TRUE(send(program.pid(), signal));
    EXPECT_EQ(program.wait(seconds(5)), 128 + signal) << program.err();
    program.expect_gone(seconds(5));
    EXPECT_EQ(program.err(), "");
  }
}

TEST(Lifecycle, SaysWhatIsMissingWhenMpirunIs) {
  Program program(generate(1, 1, {"--mpirun", "/nowhere/mpirun"}), "", kLongWork);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_NE(program.err().find("cannot start /nowhere/mpirun"), std::string::npos) << program.err();
}

TEST(Lifecycle, ListensOnTcpForAHostfile) {
  const std::string hostfile = testing::TempDir() + "/hosts_" + std::to_string(getpid());
  std::ofstream(hostfile) << "localhost slots=4\n";
  Program program(generate(2, 1, {"--hostfile", hostfile, "--max-new-tokens", "2", "-v"}), "",
                  "{\"prompt_token_ids\":[1]}\n");
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_EQ(program.out(), "1 14\n");
  EXPECT_NE(program.err().find("--front tcp:"), std::string::npos) << program.err();
  fs::remove(hostfile);
}

TEST(Restart, GoesOnWhereItWas) {
  const std::string work =
      "{\"prompt_token_ids\":[1],\"max_new_tokens\":1}\n{\"prompt_token_ids\":[2],\"max_new_tokens\":150,\"n\":2}\n";
  Program whole(generate(2, 1, {"--output-format", "json"}), "slow", work);
  ASSERT_EQ(whole.wait(), 0) << whole.err();
  for (const bool host : {false, true}) {
    Program program(generate(2, 1, {"--output-format", "json"}), "slow", work);
    ASSERT_NO_FATAL_FAILURE(program.settle(2));
    const std::string first_directory = program.directory;
    ASSERT_TRUE(send(host ? program.mpirun : program.engine_rank(1), SIGKILL));
    ASSERT_EQ(program.wait(seconds(20)), 0) << program.err();
    EXPECT_EQ(program.out(), whole.out());
    EXPECT_NE(program.err().find("attempt 2 starts (report: "), std::string::npos) << program.err();
    EXPECT_FALSE(fs::exists(first_directory));
    program.expect_gone(seconds(5));
  }
}

TEST(Restart, EndsWith72WhenTheEngineIsNeverReady) {
  Program program(generate(2, 1, {"--restart-backoff-max", "0"}), "unready 1", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 72) << program.err();
  EXPECT_NE(program.err().find("it ended 3 times in a row before it was ready"), std::string::npos) << program.err();
}

TEST(Restart, WritesAReportOfTheRunningEngineWhenAsked) {
  Program program(generate(2, 1, {"--output-format", "json"}), "slow", kLongWork);
  ASSERT_NO_FATAL_FAILURE(program.settle(2));
  ASSERT_TRUE(send(program.pid(), SIGUSR2));
  ASSERT_TRUE(eventually([&] { return program.err().find("trireme: report: ") != std::string::npos; }, seconds(5)));
  std::string path = program.err().substr(program.err().find("/"));
  path.erase(path.find('\n'));
  const std::string report = slurp(path);
  EXPECT_NE(report.find("cause: live"), std::string::npos) << report;
  EXPECT_NE(report.find("rank 1 on "), std::string::npos) << report;
  EXPECT_NE(report.find("suspects: 2"), std::string::npos) << report;
  ASSERT_TRUE(send(program.pid(), SIGTERM));
  EXPECT_EQ(program.wait(seconds(5)), 128 + SIGTERM);
}

// The same program started by an outer mpirun: rank 0 holds the front.
std::vector<std::string> embedded(int ranks, int tp, int pp) {
  std::vector<std::string> arguments = {"mpirun",
                                        "-n",
                                        std::to_string(ranks),
                                        "--oversubscribe",
                                        "--bind-to",
                                        "none",
                                        "--mca",
                                        "btl",
                                        "self,vader",
                                        "--mca",
                                        "mpi_yield_when_idle",
                                        "1",
                                        "--mca",
                                        "btl_vader_single_copy_mechanism",
                                        "none",
                                        "--mca",
                                        "odls_base_sigkill_timeout",
                                        "0"};
  const std::vector<std::string> inner = generate(tp, pp, {"--output-format", "json"});
  arguments.insert(arguments.end(), inner.begin(), inner.end());
  return arguments;
}

TEST(Embedded, AnswersOnceUnderAnOuterMpirun) {
  Program program(embedded(4, 2, 2), "", "{\"prompt_token_ids\":[1],\"max_new_tokens\":2}\n");
  ASSERT_EQ(program.wait(), 0) << program.err();
  EXPECT_EQ(program.out(),
            "{\"index\":0,\"prompt\":\"\",\"prompt_ids\":[1],\"outputs\":[{\"token_ids\":[1,14],\"text\":\"\",\"finish_"
            "reason\":\"length\","
            "\"cumulative_logprob\":-1E0,\"score\":null,\"logprobs\":null}]}\n");
}

TEST(Embedded, ReportsAFailureAndExits70) {
  Program program(embedded(2, 2, 1), "fail 1", kLongWork);
  EXPECT_EQ(program.wait(), 70) << program.err();
  EXPECT_NE(program.err().find("a planted failure"), std::string::npos) << program.err();
}

TEST(Embedded, EndsAllRanksWhenThereIsNoWork) {
  Program program(embedded(2, 2, 1), "", "not json {\n{");
  EXPECT_NE(program.wait(seconds(30)), -1);
  Program empty(embedded(2, 2, 1), "", "");
  EXPECT_EQ(empty.wait(seconds(30)), 2) << empty.err();
  EXPECT_NE(empty.err().find("there is no prompt"), std::string::npos) << empty.err();
}

TEST(Embedded, RefusesAWorldOfTheWrongSize) {
  Program program(embedded(3, 2, 1), "", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
  EXPECT_NE(program.err().find("the world has 3 ranks"), std::string::npos) << program.err();
}

}  // namespace
