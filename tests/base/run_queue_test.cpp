#include "base/run_queue.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <filesystem>
#include <thread>

namespace trireme {
namespace {

// Two threads that compute on one core wait for each other half of the time.
TEST(RunQueueDelay, GrowsWhileThreadsCompeteForACore) {
  if (!std::filesystem::exists("/proc/self/schedstat")) GTEST_SKIP() << "the kernel does not tell";
  cpu_set_t old, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof old, &old), 0);
  CPU_ZERO(&one);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
    if (CPU_ISSET(core, &old)) CPU_SET(core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  const Duration before = run_queue_delay();
  std::atomic<bool> done{false};
  std::thread other([&] { while (!done) {} });  // inherits the core
  const TimePoint end = std::chrono::steady_clock::now() + std::chrono::milliseconds(400);
  while (std::chrono::steady_clock::now() < end) {}
  const Duration waited = run_queue_delay() - before;
  done = true;
  other.join();
  sched_setaffinity(0, sizeof old, &old);
  EXPECT_GT(waited, std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace trireme
