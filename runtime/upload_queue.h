#pragma once
// Slices of tensors from the checkpoint to a GPU: several threads each read chunks into pinned memory of their own and
// copy them from there, so that the page cache, the bus and the allocation of the next weight work at the same time.
// Jobs of different tensors follow each other without a pause.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/stream.h"
#include "checkpoint/tensor_source.h"
#include "runtime/slice_stream.h"

namespace trireme {

// add, wait_for and the destructor: one thread. What is uploaded to must outlive the queue or a wait_for that ended.
class UploadQueue {
 public:
  static constexpr int kThreads = 8;
  static constexpr int64_t kChunkBytes = int64_t(4) << 20;

  // Queues the work that takes `rows`, read or converted, from `bytes` (pinned on a GPU) to their place. `scratch`: as
  // many bytes of device memory, null unless asked for. Both are free again once `stream` has passed the call's work.
  // Called on the queue's threads, several at once, with the device current.
  using Deliver = std::function<void(Range rows, const std::byte* bytes, void* scratch, const Stream& stream)>;

  struct Job {
    const TensorInfo* tensor = nullptr;
    Range rows, columns;                 // columns: whole quantization blocks
    SliceStream::Conversion conversion;  // on the reading threads; empty: bytes as stored
    bool needs_scratch = false;
    Deliver deliver;
  };

  // Memory: threads * 2 chunks, pinned; of the device as much again once a job needs scratch.
  UploadQueue(const TensorSource& source, Device device, int threads = kThreads);
  ~UploadQueue();  // drops what is not yet begun, waits for the rest
  UploadQueue(const UploadQueue&) = delete;
  UploadQueue& operator=(const UploadQueue&) = delete;

  void add(Job job);
  // True when everything added has arrived, false when `timeout` passed before. The first error of a source, a
  // conversion or `deliver` comes out here, after the work under way has ended; the queue is then of no more use.
  bool wait_for(std::chrono::milliseconds timeout);
  int64_t bytes_read() const { return bytes_read_.load(); }  // so far, as stored

 private:
  struct Lane;  // one thread's stream and buffers
  struct Chunk {
    std::shared_ptr<const Job> job;
    Range rows;
  };

  void run();
  void upload_chunks(Lane& lane);
  std::optional<Chunk> next_chunk(Lane& lane);
  void fail(std::exception_ptr error);

  const TensorSource& source_;
  const Device device_;
  std::mutex mutex_;
  std::condition_variable work_, idle_;  // a job or stop; a thread without work
  std::deque<std::shared_ptr<const Job>> jobs_;
  int64_t next_row_ = 0;  // of the first job
  int busy_ = 0;          // threads with work under way
  bool stop_ = false;
  std::exception_ptr error_;
  std::atomic<int64_t> bytes_read_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace trireme
