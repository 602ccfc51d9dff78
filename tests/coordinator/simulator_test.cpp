// 10,000 seeds of random requests over simulated ranks, and planted mistakes that they must find.
// simulator_test --seed N [--fault NAME] plays one seed with a trace; --seeds N plays more or fewer of them.

#include "tests/coordinator/support/simulator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace trireme::test {

static uint64_t num_seeds = 10000;

namespace {

// Calls play(seed) for every seed on two threads, until it returns false.
template <typename Play>
void for_each_seed(uint64_t seeds, const Play& play) {
  std::atomic<uint64_t> next{0};
  const auto work = [&] {
    for (uint64_t seed; (seed = next.fetch_add(1)) < seeds;) {
      if (!play(seed)) next.store(seeds);
    }
  };
  std::thread second(work);
  work();
  second.join();
}

TEST(Simulator, EverySeedEqualsTheUnbatchedRunAndKeepsTheInvariants) {
  std::mutex mutex;
  std::string first_error;
  int64_t rounds = 0, preemptions = 0, hits = 0, tokens = 0;
  for_each_seed(num_seeds, [&](uint64_t seed) {
    const Outcome outcome = simulate(seed);
    const std::lock_guard lock(mutex);
    if (outcome.error && first_error.empty()) first_error = *outcome.error;
    rounds += outcome.rounds;
    preemptions += outcome.stats.preemptions;
    hits += outcome.stats.prefix_hits;
    tokens += outcome.stats.generated_tokens;
    return !outcome.error;
  });
  EXPECT_EQ(first_error, "") << "replay it with: simulator_test --seed N";
  std::printf("%lld rounds, %lld tokens, %lld preemptions, %lld tokens hit\n", static_cast<long long>(rounds),
              static_cast<long long>(tokens), static_cast<long long>(preemptions), static_cast<long long>(hits));
  EXPECT_GT(preemptions, int64_t(num_seeds) / 10);
  EXPECT_GT(hits, int64_t(num_seeds));
}

TEST(Simulator, TheSameSeedTwiceIsTheSameRun) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Outcome once = simulate(seed), again = simulate(seed);
    EXPECT_EQ(once.rounds, again.rounds);
    EXPECT_EQ(once.stats, again.stats);
  }
}

std::vector<PlantedFault> all_faults() {
  std::vector<PlantedFault> faults;
  for (int fault = 1; fault < int(PlantedFault::count); ++fault) faults.push_back(PlantedFault(fault));
  return faults;
}

class PlantedFaultTest : public ::testing::TestWithParam<PlantedFault> {};

TEST_P(PlantedFaultTest, IsFoundWithinTheSeeds) {
  uint64_t seed = 0;
  Outcome outcome;
  while (seed < num_seeds && !(outcome = simulate(seed, GetParam())).error) ++seed;
  ASSERT_TRUE(outcome.error) << planted_fault_name(GetParam()) << " was not found";
  std::printf("%s: %s\n", planted_fault_name(GetParam()), outcome.error->c_str());
}

INSTANTIATE_TEST_SUITE_P(All, PlantedFaultTest, ::testing::ValuesIn(all_faults()),
                         [](const auto& info) { return planted_fault_name(info.param); });

int replay(uint64_t seed, const char* fault_name) {
  PlantedFault fault = PlantedFault::none;
  for (int index = 0; index < int(PlantedFault::count); ++index) {
    if (std::strcmp(fault_name, planted_fault_name(PlantedFault(index))) == 0) fault = PlantedFault(index);
  }
  const Outcome outcome = simulate(seed, fault, true);
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
