// The whole program under an outer mpirun, where rank 0 holds the front, around an engine that draws nothing.

#include <gtest/gtest.h>

#include "tests/launcher/support/whole_program.h"

namespace trireme::test {
namespace {

using std::chrono::seconds;

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

TEST(Embedded, RefusesAWorldOfTheWrongSizeOnce) {
  Program program(embedded(3, 2, 1), "", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
  const std::string err = program.err();
  const size_t said = err.find("trireme: the world has 3 ranks");
  ASSERT_NE(said, std::string::npos) << err;
  EXPECT_EQ(err.find("the world has", said + 20), std::string::npos) << err;
}

TEST(Embedded, SaysWhatOnlyOneRankSaw) {
  Program program(embedded(2, 2, 1), "early 1", kLongWork);
  EXPECT_EQ(program.wait(seconds(30)), 2) << program.err();
  EXPECT_NE(program.err().find("trireme: rank 1: a planted mistake before there is a front"), std::string::npos)
      << program.err();
}

}  // namespace
}  // namespace trireme::test
