#include "runtime/slice_stream.h"

#include <algorithm>

namespace trireme {
namespace {

// Below this much in all, waking threads costs more than it saves; from there on every thread gets a few chunks.
constexpr int64_t kThreadedBytes = int64_t(2) << 20;
constexpr int64_t kMinChunkBytes = int64_t(1) << 20;
constexpr int64_t kChunksPerThread = 2;

}  // namespace

SliceStream::SliceStream(const TensorSource& source, int threads)
    : source_(source), threads_(threads), slots_(size_t(threads) + 1) {}

SliceStream::~SliceStream() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& reader : readers_) reader.join();
}

Range SliceStream::Job::chunk(int64_t index) const {
  const int64_t begin = rows.begin + index * chunk_rows;
  return {begin, std::min(begin + chunk_rows, rows.end)};
}

void SliceStream::start_threads() {
  while (int(readers_.size()) < threads_) readers_.emplace_back([this] { reader(); });
}

void SliceStream::fill(const Job& job, int64_t index, Slot& slot) const {
  const Range chunk = job.chunk(index);
  slot.stored.resize(size_t(chunk.size() * job.row_bytes));
  source_.read(*job.tensor, chunk.begin, chunk.end, job.columns.begin, job.columns.end, slot.stored.data());
  if (!job.conversion->run) return;
  slot.converted.resize(size_t(chunk.size() * job.conversion->row_bytes));
  job.conversion->run(chunk.size(), slot.stored.data(), slot.converted.data());
}

void SliceStream::reader() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto readable = [this] {
      return job_.next < job_.chunks && job_.next < job_.consumed + int64_t(slots_.size());
    };
    work_.wait(lock, [&] { return stop_ || readable(); });
    if (stop_) return;
    const int64_t index = job_.next++;
    Slot& slot = slots_[size_t(index) % slots_.size()];
    ++job_.reading;
    const Job job = job_;
    lock.unlock();
    std::exception_ptr error;
    try {
      fill(job, index, slot);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --job_.reading;
    slot.ready = !error;
    if (error) {
      if (!job_.error) job_.error = error;
      job_.chunks = job_.next;  // no more reads
    }
    done_.notify_all();
  }
}

void SliceStream::read(const TensorInfo& tensor, Range rows, Range columns, int64_t row_multiple,
                       const Conversion& conversion, const Consumer& consume) {
  if (rows.size() <= 0) return;
  Job job{.tensor = &tensor, .conversion = &conversion, .rows = rows, .columns = columns};
  job.row_bytes = dtype_bytes(tensor.dtype, columns.size());
  const int64_t step_bytes = std::max<int64_t>(std::max(job.row_bytes, conversion.row_bytes) * row_multiple, 1);
  const int64_t total = rows.size() * std::max(job.row_bytes, conversion.row_bytes);
  const int64_t wanted = std::clamp(total / (threads_ * kChunksPerThread), kMinChunkBytes, kMaxChunkBytes);
  job.chunk_rows = std::max<int64_t>(wanted / step_bytes, 1) * row_multiple;
  job.chunks = (rows.size() + job.chunk_rows - 1) / job.chunk_rows;
  if (total < kThreadedBytes || job.chunks == 1) return read_here(job, consume);
  start_threads();
  {
    std::lock_guard lock(mutex_);
    job_ = job;
    for (Slot& slot : slots_) slot.ready = false;
  }
  work_.notify_all();
  try {
    consume_in_order(job.chunks, consume);
  } catch (...) {
    end_job();
    throw;
  }
  end_job();
}

void SliceStream::read_here(const Job& job, const Consumer& consume) {
  for (int64_t i = 0; i < job.chunks; ++i) {
    fill(job, i, slots_[0]);
    consume(job.chunk(i), (job.conversion->run ? slots_[0].converted : slots_[0].stored).data());
  }
}

void SliceStream::consume_in_order(int64_t chunks, const Consumer& consume) {
  for (int64_t i = 0; i < chunks; ++i) {
    Slot& slot = slots_[size_t(i) % slots_.size()];
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return slot.ready || job_.error; });
    if (job_.error) std::rethrow_exception(job_.error);
    const Range rows = job_.chunk(i);
    const bool converted = bool(job_.conversion->run);
    lock.unlock();
    consume(rows, (converted ? slot.converted : slot.stored).data());
    lock.lock();
    slot.ready = false;
    ++job_.consumed;
    lock.unlock();
    work_.notify_all();
  }
}

// Waits for the reads under way: their buffers and the tensor must outlive them.
void SliceStream::end_job() {
  std::unique_lock lock(mutex_);
  job_.chunks = job_.next;
  done_.wait(lock, [this] { return job_.reading == 0; });
  job_ = Job{};
}

}  // namespace trireme
