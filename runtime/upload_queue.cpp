#include "runtime/upload_queue.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/tensor.h"

namespace trireme {
namespace {

int64_t chunk_row_bytes(const UploadQueue::Job& job) {
  return std::max<int64_t>({dtype_bytes(job.tensor->dtype, job.columns.size()), job.conversion.row_bytes, 1});
}

}  // namespace

// Two buffers: one is read into while the other travels.
struct UploadQueue::Lane {
  struct Buffer {
    explicit Buffer(Device device) : used(device) {}
    ~Buffer() { pinned_free(pinned); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    std::byte* pinned = nullptr;
    int64_t size = 0;
    Tensor scratch;
    Event used;
  };

  explicit Lane(Device device) : stream(device), buffers{Buffer(device), Buffer(device)} {}

  Buffer& next_buffer(int64_t bytes, bool needs_scratch) {
    Buffer& buffer = buffers[next++ % buffers.size()];
    buffer.used.synchronize();
    if (buffer.size < bytes) {
      pinned_free(std::exchange(buffer.pinned, nullptr));
      buffer.size = 0;
      const int64_t size = std::max(bytes, kChunkBytes);
      buffer.pinned = static_cast<std::byte*>(pinned_allocate(size_t(size)));
      buffer.size = size;
    }
    if (needs_scratch && (!buffer.scratch || buffer.scratch.dim(0) < buffer.size))
      buffer.scratch = Tensor(DType::u8, {buffer.size}, stream.device());
    return buffer;
  }

  void upload(const TensorSource& source, const Chunk& chunk) {
    const Job& job = *chunk.job;
    Buffer& buffer = next_buffer(chunk.rows.size() * chunk_row_bytes(job), job.needs_scratch);
    std::byte* target = buffer.pinned;
    if (job.conversion.run) {
      stored.resize(size_t(chunk.rows.size() * dtype_bytes(job.tensor->dtype, job.columns.size())));
      target = stored.data();
    }
    source.read(*job.tensor, chunk.rows.begin, chunk.rows.end, job.columns.begin, job.columns.end, target);
    if (job.conversion.run) job.conversion.run(chunk.rows.size(), stored.data(), buffer.pinned);
    job.deliver(chunk.rows, buffer.pinned, buffer.scratch.data(), stream);
    buffer.used.record(stream);
  }

  Stream stream;
  std::array<Buffer, 2> buffers;
  size_t next = 0;
  std::vector<std::byte> stored;
};

UploadQueue::UploadQueue(const TensorSource& source, Device device, int threads)
    : source_(source), device_(device), busy_(threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

UploadQueue::~UploadQueue() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    jobs_.clear();
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void UploadQueue::add(Job job) {
  if (job.rows.size() <= 0 || job.columns.size() <= 0) return;
  {
    std::lock_guard lock(mutex_);
    if (error_) return;  // wait_for has it
    if (jobs_.empty()) next_row_ = job.rows.begin;
    jobs_.push_back(std::make_shared<const Job>(std::move(job)));
  }
  work_.notify_all();
}

bool UploadQueue::wait_for(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!idle_.wait_for(lock, timeout, [this] { return jobs_.empty() && busy_ == 0; })) return false;
  if (error_) std::rethrow_exception(error_);
  return true;
}

void UploadQueue::run() {
  try {
    set_current_device(device_);
    Lane lane(device_);
    try {
      upload_chunks(lane);
    } catch (...) {
      const std::exception_ptr error = std::current_exception();
      try {
        lane.stream.synchronize();  // its buffers go now
      } catch (...) {               // the first error is the one that tells something
      }
      std::rethrow_exception(error);
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void UploadQueue::upload_chunks(Lane& lane) {
  while (const std::optional<Chunk> chunk = next_chunk(lane)) {
    lane.upload(source_, *chunk);
    bytes_read_ += chunk->rows.size() * dtype_bytes(chunk->job->tensor->dtype, chunk->job->columns.size());
  }
  lane.stream.synchronize();
}

// A thread counts as busy until its copies have arrived.
std::optional<UploadQueue::Chunk> UploadQueue::next_chunk(Lane& lane) {
  std::unique_lock lock(mutex_);
  if (jobs_.empty() && !stop_) {
    lock.unlock();
    lane.stream.synchronize();
    lock.lock();
    --busy_;
    idle_.notify_all();
    work_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    ++busy_;
  }
  if (stop_) return std::nullopt;
  const std::shared_ptr<const Job> job = jobs_.front();
  const int64_t rows = std::max<int64_t>(kChunkBytes / chunk_row_bytes(*job), 1);
  const Range range{next_row_, std::min(next_row_ + rows, job->rows.end)};
  next_row_ = range.end;
  if (range.end == job->rows.end) {
    jobs_.pop_front();
    if (!jobs_.empty()) next_row_ = jobs_.front()->rows.begin;
  }
  return Chunk{job, range};
}

void UploadQueue::fail(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (!error_) error_ = error;
  jobs_.clear();
  --busy_;
  idle_.notify_all();
}

}  // namespace trireme
