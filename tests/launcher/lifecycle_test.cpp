// The whole front under a real mpirun, around an engine that draws nothing (fake_trireme.cpp): outputs, exit codes,
// and that nothing is left behind whoever is killed.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/launcher/support/whole_program.h"

namespace trireme::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

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

}  // namespace
}  // namespace trireme::test
