#pragma once
// The whole program as a user starts it, around an engine that draws nothing (fake_trireme.cpp), with its processes.

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace trireme::test {

std::string slurp(const std::filesystem::path& path);

// Looks every 20 ms until `holds` or the time is over.
bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds timeout);

// Never 0, 1 or -1: kill() would take those for a group, for init, or for every process there is.
bool send(pid_t pid, int signal);

class Program {
 public:
  // `fake`: how its engine misbehaves (TRIREME_FAKE). `input`: its standard input.
  explicit Program(const std::vector<std::string>& arguments, const std::string& fake = "",
                   const std::string& input = "");
  ~Program();  // kills it if it still runs

  pid_t pid() const { return pid_; }
  std::string out() const { return slurp(folder_ / "out"); }
  std::string err() const { return slurp(folder_ / "err"); }

  // Exit code, 128 + signal, or -1 when it does not end in time.
  int wait(std::chrono::milliseconds timeout = std::chrono::seconds(60));

  // Waits until `ranks` ranks run and tokens have come; fills mpirun's and the ranks' pids and the attempt's directory.
  void settle(size_t ranks);

  pid_t engine_rank(int rank) const;

  // For a failed test: pid, state and command of the program and all below it.
  std::string states() const;

  // Everything that was there, janitor and directory included.
  void expect_gone(std::chrono::milliseconds timeout) const;

  pid_t mpirun = -1;
  std::vector<pid_t> engine;
  std::string directory;

 private:
  void find_processes();

  std::filesystem::path folder_;
  pid_t pid_ = -1;
  std::map<pid_t, std::string> processes_;
};

// The command line of `trireme generate` on that program.
std::vector<std::string> generate(int tp, int pp, const std::vector<std::string>& more = {});

// Streams its first line at once, then keeps the engine busy for minutes.
inline constexpr char kLongWork[] =
    "{\"prompt_token_ids\":[1],\"max_new_tokens\":1}\n{\"prompt_token_ids\":[2],\"max_new_tokens\":4000}\n";

}  // namespace trireme::test
