#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace trireme::test {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_cpu_threads(GetParam()); }
  void TearDown() override { set_cpu_threads(1); }
};

TEST_P(ThreadPoolTest, EveryChunkRunsOnce) {
  for (int64_t chunks : {0, 1, 2, 3, 100, 70000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(chunks));
    cpu::parallel_for(chunks, [&](int64_t c) { ++runs[size_t(c)]; });
    for (const auto& count : runs) ASSERT_EQ(count, 1);
  }
}

TEST_P(ThreadPoolTest, ManySmallJobsFollowEachOther) {
  std::atomic<int64_t> total{0};
  for (int job = 0; job < 20000; ++job) cpu::parallel_for(1 + job % 7, [&](int64_t c) { total += c; });
  int64_t expected = 0;
  for (int64_t job = 0; job < 20000; ++job) expected += (job % 7) * (job % 7 + 1) / 2;
  EXPECT_EQ(total, expected);
}

TEST_P(ThreadPoolTest, SleepingWorkersWakeUp) {
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> runs{0};
    cpu::parallel_for(8, [&](int64_t) { ++runs; });
    EXPECT_EQ(runs, 8);
  }
}

TEST_P(ThreadPoolTest, RangesCoverEveryItemOnce) {
  for (int64_t items : {0, 1, 5, 64}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
    cpu::parallel_ranges(items, 7, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++runs[size_t(i)];
    });
    for (const auto& count : runs) ASSERT_EQ(count, 1);
  }
}

TEST_P(ThreadPoolTest, NestedCallsAndTwoCallersDoTheirOwnChunks) {
  std::atomic<int> runs{0};
  const auto call = [&] {
    for (int i = 0; i < 500; ++i)
      cpu::parallel_for(4, [&](int64_t) { cpu::parallel_for(3, [&](int64_t) { ++runs; }); });
  };
  std::thread other(call);
  call();
  other.join();
  EXPECT_EQ(runs, 2 * 500 * 12);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 4, 9));

TEST(ThreadPool, CountIsWhatWasSet) {
  set_cpu_threads(3);
  EXPECT_EQ(cpu_threads(), 3);
  set_cpu_threads(1);
  EXPECT_EQ(cpu_threads(), 1);
}

}  // namespace
}  // namespace trireme::test
