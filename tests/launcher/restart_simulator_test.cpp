// 2,000 seeds of engines that die, whose outcome must be that of engines that do not, and planted mistakes that the
// seeds must find. restart_simulator_test --seed N [--fault NAME] plays one with a trace; --seeds N plays so many.

#include "tests/launcher/support/restart_simulator.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace trireme::test {

static uint64_t num_seeds = 2000;

namespace {

TEST(RestartSimulator, NoSeedLosesARequestOrChangesAToken) {
  RestartOutcome total;
  for (uint64_t seed = 0; seed < num_seeds; ++seed) {
    const RestartOutcome outcome = simulate_restarts(seed);
    ASSERT_FALSE(outcome.error) << *outcome.error << "\nreplay it with: restart_simulator_test --seed " << seed;
    total.rounds += outcome.rounds;
    total.attempts += outcome.attempts;
    total.replayed_tokens += outcome.replayed_tokens;
    total.poisoned += outcome.poisoned;
    total.trials += outcome.trials;
    total.never_ready += outcome.never_ready;
  }
  std::printf("%lld rounds, %lld attempts, %lld tokens replayed, %lld rounds on trial, %lld requests poisoned, %lld never ready\n",
              static_cast<long long>(total.rounds), static_cast<long long>(total.attempts),
              static_cast<long long>(total.replayed_tokens), static_cast<long long>(total.trials),
              static_cast<long long>(total.poisoned), static_cast<long long>(total.never_ready));
  EXPECT_GT(total.attempts, int64_t(num_seeds) * 2);
  EXPECT_GT(total.replayed_tokens, int64_t(num_seeds));
  EXPECT_GT(total.poisoned, int64_t(num_seeds) / 10);
  EXPECT_GT(total.never_ready, 0);
}

TEST(RestartSimulator, TheSameSeedTwiceIsTheSameRun) {
  for (uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(simulate_restarts(seed).rounds, simulate_restarts(seed).rounds);
}

class RestartFaultTest : public ::testing::TestWithParam<RestartFault> {};

TEST_P(RestartFaultTest, IsFoundWithinTheSeeds) {
  uint64_t seed = 0;
  RestartOutcome outcome;
  while (seed < num_seeds && !(outcome = simulate_restarts(seed, GetParam())).error) ++seed;
  ASSERT_TRUE(outcome.error) << restart_fault_name(GetParam()) << " was not found";
  std::printf("%s: %s\n", restart_fault_name(GetParam()), outcome.error->substr(0, 200).c_str());
}

std::vector<RestartFault> all_faults() {
  std::vector<RestartFault> faults;
  for (int fault = 1; fault < int(RestartFault::count); ++fault) faults.push_back(RestartFault(fault));
  return faults;
}

INSTANTIATE_TEST_SUITE_P(All, RestartFaultTest, ::testing::ValuesIn(all_faults()),
                         [](const auto& info) { return restart_fault_name(info.param); });

int replay(uint64_t seed, const char* fault_name) {
  RestartFault fault = RestartFault::none;
  for (int index = 0; index < int(RestartFault::count); ++index)
    if (std::strcmp(fault_name, restart_fault_name(RestartFault(index))) == 0) fault = RestartFault(index);
  const RestartOutcome outcome = simulate_restarts(seed, fault, true);
  std::printf("%s\n", outcome.error ? outcome.error->c_str() : "all is well");
  return outcome.error ? 1 : 0;
}

}  // namespace
}  // namespace trireme::test

int main(int argc, char** argv) {
  const char* fault = "none";
  const char* seed = nullptr;
  for (int index = 1; index + 1 < argc; ++index) {
    if (std::strcmp(argv[index], "--seed") == 0) seed = argv[index + 1];
    if (std::strcmp(argv[index], "--fault") == 0) fault = argv[index + 1];
    if (std::strcmp(argv[index], "--seeds") == 0)
      trireme::test::num_seeds = std::strtoull(argv[index + 1], nullptr, 10);
  }
  if (seed) return trireme::test::replay(std::strtoull(seed, nullptr, 10), fault);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
