// main() of tests that run on several MPI ranks. Rank 0 prints; the others print only what failed. After every
// test all ranks meet, so that none runs ahead into the next; a test that takes more than a minute is stuck
// (TRIREME_TEST_TIMEOUT_S changes that) and ends the run. A failure on any rank fails all.

#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "base/progress.h"

namespace {

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

void meet() {   // a barrier that does not burn the core that slower ranks need
  MPI_Request request;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE), !done;)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
}

// Ends the process when a test outlasts the limit; mpirun then ends the other ranks.
class Watchdog {
 public:
  Watchdog(int rank, std::chrono::seconds limit) : rank_(rank), limit_(limit), thread_([this] { watch(); }) {}
  ~Watchdog() {
    restart("");
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void restart(const std::string& test) {
    const std::lock_guard lock(mutex_);
    test_ = test;
    deadline_ = std::chrono::steady_clock::now() + limit_;
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      if (std::chrono::steady_clock::now() > deadline_) {
        const trireme::RankProgress& progress = trireme::rank_progress();
        std::fprintf(stderr, "rank %d: stuck for %d s in %s: %s, step %lld, %llu ops, last op %s\n", rank_, int(limit_.count()),
                     test_.c_str(), trireme::phase_name(progress.phase.load()), static_cast<long long>(progress.step.load()),
                     static_cast<unsigned long long>(progress.counter.load()), progress.operation.load());
        _exit(124);
      }
      changed_.wait_for(lock, std::chrono::milliseconds(200));
    }
  }
  const int rank_;
  const std::chrono::seconds limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string test_ = "start";
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + limit_;
  bool stop_ = false;
  std::thread thread_;
};

class RankListener : public testing::EmptyTestEventListener {
 public:
  RankListener(int rank, Watchdog& watchdog) : rank_(rank), watchdog_(watchdog) {}
  void OnTestStart(const testing::TestInfo& test) override { watchdog_.restart(full_name(test)); }
  void OnTestEnd(const testing::TestInfo& test) override {
    watchdog_.restart("the barrier after " + full_name(test));
    meet();
  }
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (rank_ == 0 || !result.failed()) return;
    const char* file = result.file_name() ? result.file_name() : "?";
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_, file, result.line_number(), result.summary());
  }

 private:
  static std::string full_name(const testing::TestInfo& test) {
    return std::string(test.test_suite_name()) + "." + test.name();
  }
  const int rank_;
  Watchdog& watchdog_;
};

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  testing::InitGoogleTest(&argc, argv);
  const int rank = world_rank();
  const char* limit = std::getenv("TRIREME_TEST_TIMEOUT_S");
  int failed = 0;
  {
    Watchdog watchdog(rank, std::chrono::seconds(limit ? std::atoi(limit) : 60));
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    if (rank != 0) delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new RankListener(rank, watchdog));   // gtest owns it
    const int own = RUN_ALL_TESTS() != 0 || provided < MPI_THREAD_FUNNELED;
    MPI_Allreduce(&own, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  }
  if (rank == 0 && failed) std::fprintf(stderr, "a test failed on at least one rank\n");
  MPI_Finalize();
  return failed;
}
