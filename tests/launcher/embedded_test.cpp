// The whole program under an outer mpirun, where rank 0 holds the front, around an engine that draws nothing.

#include <gtest/gtest.h>

#include <sstream>

#include "tests/launcher/support/whole_program.h"

namespace trireme::test {
namespace {

using std::chrono::seconds;

// sigkill: seconds that mpirun waits for ranks to end, before each of its signals.
std::vector<std::string> embedded(int ranks, int tp, int pp, const std::string& sigkill = "0") {
  const std::string flags =
      "--oversubscribe --bind-to none --mca btl self,vader --mca mpi_yield_when_idle 1 "
      "--mca btl_vader_single_copy_mechanism none --mca odls_base_sigkill_timeout " +
      sigkill;
  std::vector<std::string> arguments = {"mpirun", "-n", std::to_string(ranks)};
  std::istringstream words(flags);
  for (std::string word; words >> word;) arguments.push_back(word);
  const std::vector<std::string> inner = generate(tp, pp, {"--output-format", "json"});
  arguments.insert(arguments.end(), inner.begin(), inner.end());
  return arguments;
}

// By rank 0, and by no other.
void expect_said_once(const Program& program, const std::string& what) {
  const std::string err = program.err();
  EXPECT_NE(err.find("trireme: " + what), std::string::npos) << err;
  EXPECT_EQ(err.find(what), err.rfind(what)) << err;
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

TEST(Embedded, RefusesAWorldOfTheWrongSizeOnce) {
  for (const char* sigkill : {"0", "1"}) {  // mpirun's own: SIGTERM after a second, then SIGKILL
    Program program(embedded(3, 2, 1, sigkill), "", kLongWork);
    EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
    expect_said_once(program, "the world has 3 ranks");
  }
}

TEST(Embedded, RefusesAWrongFlagOnce) {
  std::vector<std::string> arguments = embedded(3, 2, 1, "1");
  arguments.push_back("--nonsense");
  Program program(arguments);
  EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
  expect_said_once(program, "unknown flag --nonsense");
}

TEST(Embedded, SaysWhatOnlyOneRankSaw) {
  Program program(embedded(2, 2, 1), "early 1", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
  EXPECT_NE(program.err().find("trireme: rank 1: a planted mistake before there is a front"), std::string::npos)
      << program.err();
}

TEST(Embedded, SaysThatRank0HasNoLinkToItsOwnFront) {
  Program program(embedded(2, 2, 1), "undialled 0", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 70) << program.err();
  expect_said_once(program, "a planted front that does not answer");
}

}  // namespace
}  // namespace trireme::test
