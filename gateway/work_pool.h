#pragma once
// A few threads and a bounded queue for what must not block an I/O thread: parsing, templates, tokenizing.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace trireme {

class WorkPool {
 public:
  // threads 0: try_run() runs the work itself (tests).
  WorkPool(size_t threads, size_t max_waiting);
  ~WorkPool();  // finishes what runs, drops what waits
  WorkPool(const WorkPool&) = delete;

  bool try_run(std::function<void()> work);  // any thread; false when the queue is full. `work` must not throw

 private:
  void run();

  const size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trireme
