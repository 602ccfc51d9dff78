#include "launcher/attempt_directory.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

namespace trireme {
namespace {

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 500 && !holds(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return holds();
}

// A sleeping program; with `directory` in its environment, as ranks have it.
pid_t start_sleeper(const std::string& directory, const std::string& front = "nobody") {
  const std::string mark = std::string(kAttemptDirectoryName) + "=" + directory;
  const std::string name = std::string(kFrontName) + "=" + front;
  const pid_t pid = fork();
  if (pid == 0) {
    char* const arguments[] = {const_cast<char*>("sleep"), const_cast<char*>("60"), nullptr};
    char* const environment[] = {const_cast<char*>(name.c_str()),
                                 directory.empty() ? nullptr : const_cast<char*>(mark.c_str()), nullptr};
    execve("/bin/sleep", arguments, environment);
    _exit(127);
  }
  if (pid < 2) throw std::runtime_error("fork");  // kill(-1) would mean everybody
  return pid;
}

bool ended(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; }  // again and again: -1 once it is reaped

TEST(AttemptDirectory, GoesWithItsOwner) {
  std::string path;
  {
    AttemptDirectory directory;
    path = directory.path();
    EXPECT_TRUE(std::filesystem::exists(path));
    EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::mask,
              std::filesystem::perms::owner_all);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(AttemptDirectory, KnowsItsProcessesByTheirEnvironmentAndNotByTheirNumber) {
  const pid_t ours = start_sleeper("/dev/shm/trireme-abc"), other = start_sleeper("/dev/shm/trireme-abcd"),
              stranger = start_sleeper("");
  EXPECT_TRUE(eventually([&] { return belongs_to_attempt(ours, "/dev/shm/trireme-abc"); }));
  EXPECT_TRUE(eventually([&] { return belongs_to_attempt(other, "/dev/shm/trireme-abcd"); }));
  EXPECT_FALSE(belongs_to_attempt(other, "/dev/shm/trireme-abc"));
  EXPECT_FALSE(belongs_to_attempt(stranger, "/dev/shm/trireme-abc"));
  EXPECT_FALSE(belongs_to_attempt(999999999, "/dev/shm/trireme-abc"));
  for (pid_t pid : {ours, other, stranger}) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

// The owner is killed; its janitor ends the attempt's processes, and leaves others alone.
TEST(AttemptDirectory, TheJanitorKillsTheAttemptsProcessesOnly) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t stranger = start_sleeper("");
  const pid_t owner = fork();
  ASSERT_GE(owner, 0);
  if (owner == 0) {
    AttemptDirectory directory;
    const pid_t rank = start_sleeper(directory.path());
    std::string told = directory.path() + " " + std::to_string(rank) + "\n";
    if (::write(ends[1], told.data(), told.size()) < 0) _exit(1);
    pause();
  }
  std::string told;
  for (char c = 0; ::read(ends[0], &c, 1) == 1 && c != '\n';) told += c;
  const std::string path = told.substr(0, told.find(' '));
  const pid_t rank = std::stoi(told.substr(told.find(' ') + 1));
  ASSERT_TRUE(eventually([&] { return belongs_to_attempt(rank, path); }));
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(path) && !belongs_to_attempt(rank, path); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(ended(stranger));
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, nullptr, 0);
}

// The first rank of a new attempt on a host that was cut off: what the same front left goes, and nothing else.
TEST(AttemptDirectory, TheHostJanitorEndsOlderAttemptsOfTheSameFront) {
  const std::string path = "/dev/shm/trireme-test-" + std::to_string(getpid());
  const pid_t old = start_sleeper(path + "-old", "f1"), stopped = start_sleeper(path + "-older", "f1"),
              sibling = start_sleeper(path, "f1"), other = start_sleeper(path + "-other", "f2");
  for (const auto& [pid, directory] : std::map<pid_t, std::string>{
           {old, path + "-old"}, {stopped, path + "-older"}, {sibling, path}, {other, path + "-other"}})
    ASSERT_TRUE(eventually([&] { return belongs_to_attempt(pid, directory); }));
  ::kill(stopped, SIGSTOP);
  const pid_t rank = fork();
  ASSERT_GE(rank, 0);
  if (rank == 0) {
    setenv(kAttemptDirectoryName, path.c_str(), 1);
    setenv(kFrontName, "f1", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "0", 1);
    start_host_janitor();
    pause();
  }
  EXPECT_TRUE(eventually([&] { return ended(old); }));
  EXPECT_TRUE(eventually([&] { return ended(stopped); }));
  EXPECT_FALSE(ended(sibling));
  EXPECT_FALSE(ended(other));
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the janitor is at its pipe
  ::kill(rank, SIGKILL);
  ::waitpid(rank, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return ended(sibling) && !std::filesystem::exists(path); }));
  EXPECT_FALSE(ended(other));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

// Killed at any moment of its first milliseconds: before the directory, while it is made, after.
TEST(AttemptDirectory, IsNeverLeftBehindHoweverEarlyItsOwnerIsKilled) {
  std::set<pid_t> owners;
  for (int i = 0; i < 60; ++i) {
    const pid_t owner = fork();
    ASSERT_GE(owner, 0);
    if (owner == 0) {
      AttemptDirectory directory;
      pause();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50 * i));
    ::kill(owner, SIGKILL);
    ::waitpid(owner, nullptr, 0);
    owners.insert(owner);
  }
  const auto left = [&owners] {
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/dev/shm", error), end; !error && entry != end;
         entry.increment(error)) {
      pid_t owner = 0;
      if (std::ifstream(entry->path() / "front") >> owner && owners.count(owner)) return true;
    }
    return false;
  };
  EXPECT_TRUE(eventually([&] { return !left(); }));
}

}  // namespace
}  // namespace trireme
