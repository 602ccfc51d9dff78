#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace trireme::cpu {
namespace {

constexpr auto kSpinTime = std::chrono::microseconds(40);  // the gap between two ops of one layer, with some to spare
constexpr int64_t kMaxChunks = 0xffff;                     // of one job: a ticket's field

inline void pause_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins for a bounded time, giving the core away now and then. Returns whether done() became true.
template <typename Done>
bool spin_until(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_core();
    }
    sched_yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

// A job is named by its ticket: epoch (32 bits), number of chunks (16), next chunk (16). A chunk is claimed by
// moving the ticket on, so that a worker that wakes late can never claim from a job it has not seen, and the job's
// function stays valid until every claimed chunk is done.
class ThreadPool {
 public:
  explicit ThreadPool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~ThreadPool() {
    stopping_.store(true);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int threads() const { return int(workers_.size()) + 1; }

  // One thread at a time; false where another one is inside.
  bool run(int64_t chunks, ChunkFunction function, void* context) {
    if (busy_.test_and_set(std::memory_order_acquire)) return false;
    function_ = function;
    context_ = context;
    remaining_.store(int32_t(chunks));
    const uint32_t epoch = epoch_.load() + 1;
    ticket_.store(uint64_t(epoch) << 32 | uint64_t(chunks) << 16);
    epoch_.store(epoch);
    epoch_.notify_all();  // a system call only where a worker sleeps
    claim_chunks(epoch);
    const auto finished = [this] { return remaining_.load(std::memory_order_acquire) == 0; };
    while (!spin_until(finished)) {
      const int32_t left = remaining_.load();
      if (left > 0) remaining_.wait(left);
    }
    busy_.clear(std::memory_order_release);
    return true;
  }

 private:
  void work() {
    uint32_t seen = 0;
    while (!stopping_.load()) {
      const auto changed = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
      if (!spin_until(changed)) {
        epoch_.wait(seen);
        continue;
      }
      seen = epoch_.load(std::memory_order_acquire);
      claim_chunks(seen);
    }
  }

  void claim_chunks(uint32_t epoch) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (uint32_t(ticket >> 32) == epoch) {
      const uint64_t chunk = ticket & 0xffff, chunks = ticket >> 16 & 0xffff;
      if (chunk >= chunks) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      function_(context_, int64_t(chunk));
      if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_one();
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  std::vector<std::thread> workers_;
  std::atomic_flag busy_;
  std::atomic<bool> stopping_{false};
  ChunkFunction function_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int32_t> remaining_{0};
};

std::unique_ptr<ThreadPool>& pool() {
  static std::unique_ptr<ThreadPool> the_pool;
  return the_pool;
}

thread_local bool inside_chunk = false;

void run_alone(int64_t begin, int64_t end, ChunkFunction function, void* context) {
  for (int64_t c = begin; c < end; ++c) function(context, c);
}

}  // namespace

void run_chunks(int64_t chunks, ChunkFunction function, void* context) {
  ThreadPool* threads = pool().get();
  if (!threads || chunks <= 1 || inside_chunk) return run_alone(0, chunks, function, context);
  for (int64_t begin = 0; begin < chunks; begin += kMaxChunks) {
    struct Job {
      ChunkFunction function;
      void* context;
      int64_t begin;
    } job{function, context, begin};
    const ChunkFunction guarded = [](void* data, int64_t chunk) {
      const Job& order = *static_cast<Job*>(data);
      inside_chunk = true;
      order.function(order.context, order.begin + chunk);
      inside_chunk = false;
    };
    const int64_t count = std::min(chunks - begin, kMaxChunks);
    if (!threads->run(count, guarded, &job)) run_alone(begin, begin + count, function, context);
  }
}

int64_t worthwhile_chunks(int64_t rows, int64_t row_cost) {
  constexpr int64_t kMinChunkCost = 16384;  // some 5 us of vector work
  if (cpu_threads() == 1 || row_cost <= 0) return 1;
  const int64_t by_cost = rows * row_cost / kMinChunkCost;
  return std::clamp<int64_t>(by_cost, 1, int64_t(cpu_threads()) * 4);
}

}  // namespace trireme::cpu

namespace trireme {

void set_cpu_threads(int threads) {
  CHECK(threads >= 1 && threads <= 1024) << "set_cpu_threads" << threads;
  if (threads == cpu_threads()) return;
  cpu::pool().reset();
  if (threads > 1) cpu::pool() = std::make_unique<cpu::ThreadPool>(threads);
}

int cpu_threads() { return cpu::pool() ? cpu::pool()->threads() : 1; }

}  // namespace trireme
