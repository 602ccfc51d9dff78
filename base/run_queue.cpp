#include "base/run_queue.h"

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace trireme {
namespace {

constexpr int kMostThreads = 512;

}  // namespace

Duration run_queue_delay() {
  std::error_code error;
  std::filesystem::directory_iterator task("/proc/self/task", error), end;
  uint64_t total = 0;
  for (int count = 0; !error && task != end && count < kMostThreads; task.increment(error), ++count) {
    std::ifstream file(task->path() / "schedstat");
    uint64_t run = 0, wait = 0;
    if (file >> run >> wait) total += wait;
  }
  return std::chrono::nanoseconds(total);
}

}  // namespace trireme
