#pragma once
// Slices of tensors, read by a few threads ahead of the one that converts them: a disk or a network file system gives
// its bandwidth to several reads at once only, and the page cache copies faster from several cores.

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "parallel/topology.h"

namespace trireme {

// One consumer at a time; its functions are called on its own thread.
class SliceStream {
 public:
  static constexpr int kThreads = 4;
  // From the page cache (benchmarks/checkpoint, one run each on two shared cores): 16 MB 26 GB/s, 4 MB 37, 2 MB 28.
  static constexpr int64_t kMaxChunkBytes = int64_t(4) << 20;

  explicit SliceStream(const TensorSource& source, int threads = kThreads);
  ~SliceStream();
  SliceStream(const SliceStream&) = delete;
  SliceStream& operator=(const SliceStream&) = delete;

  // What becomes of a chunk before it is consumed; runs on the reading threads. Empty: it stays as stored.
  struct Conversion {
    int64_t row_bytes = 0;  // of a converted row
    std::function<void(int64_t rows, const std::byte* stored, std::byte* converted)> run;
  };
  // Ascending runs of whole rows.
  using Consumer = std::function<void(Range rows, const std::byte* bytes)>;

  // Rows `rows` of columns `columns` (whole quantization blocks) in chunks of a multiple of `row_multiple` rows (the
  // last may be less): at most kMaxChunkBytes, converted or not, or one such multiple. Memory: threads + 1 chunks.
  // What the source, the conversion or `consume` throws comes out here, after the reads under way have ended.
  void read(const TensorInfo& tensor, Range rows, Range columns, int64_t row_multiple, const Conversion& conversion,
            const Consumer& consume);

 private:
  struct Slot {
    std::vector<std::byte> stored, converted;
    bool ready = false;
  };
  struct Job {
    const TensorInfo* tensor = nullptr;
    const Conversion* conversion = nullptr;
    Range rows, columns;
    int64_t chunk_rows = 0, row_bytes = 0;
    int64_t chunks = 0, next = 0, consumed = 0, reading = 0;
    std::exception_ptr error = nullptr;
    Range chunk(int64_t index) const;
  };

  void start_threads();
  void reader();
  void fill(const Job& job, int64_t index, Slot& slot) const;
  void read_here(const Job& job, const Consumer& consume);
  void consume_in_order(int64_t chunks, const Consumer& consume);
  void end_job();

  const TensorSource& source_;
  const int threads_;
  std::mutex mutex_;
  std::condition_variable work_, done_;  // something to read, or stop; something read, or ended
  bool stop_ = false;
  Job job_;
  std::vector<Slot> slots_;  // chunk i is read into slot i % size
  std::vector<std::thread> readers_;
};

}  // namespace trireme
