#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {

void read_bandwidth(double* bytes_per_second) {
  constexpr int64_t kWords = int64_t(24) << 20;   // 192 MiB
  constexpr int kPasses = 3;
  std::vector<uint64_t> buffer(static_cast<size_t>(kWords));
  std::iota(buffer.begin(), buffer.end(), uint64_t(1));
  std::atomic<uint64_t> sink{0};
  double best = 1e9;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel_ranges(kWords, cpu_threads(), [&](int64_t begin, int64_t end) {
      uint64_t sums[8] = {};
      int64_t i = begin;
      for (; i + 8 <= end; i += 8)
        for (int lane = 0; lane < 8; ++lane) sums[lane] += buffer[size_t(i + lane)];
      sink += std::accumulate(sums, sums + 8, uint64_t(0));
    });
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  // The sum is used, or the loop would be optimized away.
  *bytes_per_second = double(kWords) * 8 / best + double(sink.load() & 1) * 1e-9;
}

}  // namespace trireme::cpu
