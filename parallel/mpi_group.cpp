#include "parallel/mpi_group.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "base/log.h"

namespace trireme {
namespace {

// Open MPI's shared memory passes messages below 4 KiB at once; longer ones wait until both sides are inside
// MPI, which a rank that computes is not. So messages of up to 32 KiB (a decode step's activations) travel as
// pieces that size, and longer ones where the operation asks for it. Others are cut only where MPI's int counts end.
constexpr int64_t kEagerBytes = 4000;
constexpr int64_t kLargestPieceBytes = 1 << 30;

template <typename Post>   // post(offset, bytes)
void for_each_piece(int64_t bytes, int64_t eager_limit, Post post) {
  const int64_t piece = bytes <= eager_limit ? kEagerBytes : kLargestPieceBytes;
  for (int64_t offset = 0; offset < bytes; offset += piece) post(offset, int(std::min(piece, bytes - offset)));
}

}  // namespace

std::string mpi_error_text(int status) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  return std::string(text, size_t(length));
}

MpiSession::MpiSession() {
  int running = 0, provided = 0;
  MPI_CHECK(MPI_Initialized(&running));
  if (running) return;
  MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  owned_ = true;
  CHECK_GE(provided, int(MPI_THREAD_FUNNELED)) << "this MPI library has no thread support";
}

MpiSession::~MpiSession() {
  if (owned_ && std::uncaught_exceptions() == 0) MPI_Finalize();
}

MpiGroup::MpiGroup(MPI_Comm parent, int color, int key) {
  MPI_CHECK(MPI_Comm_split(parent, color, key, &comm_));
  MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  MPI_CHECK(MPI_Comm_rank(comm_, &rank_));
  MPI_CHECK(MPI_Comm_size(comm_, &size_));
}

MpiGroup::MpiGroup(MpiGroup&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)), rank_(other.rank_), size_(other.size_) {}

MpiGroup::~MpiGroup() {
  if (comm_ != MPI_COMM_NULL && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

void Transfers::send(const MpiGroup& group, const void* data, int64_t bytes, int destination, int tag,
                     int64_t eager_limit) {
  for_each_piece(bytes, eager_limit, [&](int64_t offset, int piece) {
    const char* begin = static_cast<const char*>(data) + offset;
    MPI_Request request;
    MPI_CHECK(MPI_Isend(begin, piece, MPI_BYTE, destination, tag, group.comm(), &request));
    requests_.push_back(request);
    expected_.push_back(-1);
  });
  bytes_ += bytes;
}

void Transfers::receive(const MpiGroup& group, void* data, int64_t bytes, int source, int tag,
                        int64_t eager_limit) {
  for_each_piece(bytes, eager_limit, [&](int64_t offset, int piece) {
    char* begin = static_cast<char*>(data) + offset;
    MPI_Request request;
    MPI_CHECK(MPI_Irecv(begin, piece, MPI_BYTE, source, tag, group.comm(), &request));
    requests_.push_back(request);
    expected_.push_back(piece);
  });
  bytes_ += bytes;
}

bool Transfers::done() {
  if (requests_.empty()) return true;
  int all_done = 0;
  statuses_.resize(requests_.size());
  MPI_CHECK(MPI_Testall(int(requests_.size()), requests_.data(), &all_done, statuses_.data()));
  if (!all_done) return false;
  check_received_sizes();
  requests_.clear();
  expected_.clear();
  bytes_ = 0;
  return true;
}

void Transfers::check_received_sizes() const {
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (expected_[i] < 0) continue;
    int received = 0;
    MPI_CHECK(MPI_Get_count(&statuses_[i], MPI_BYTE, &received));
    CHECK_EQ(received, expected_[i])
        << "message from rank" << statuses_[i].MPI_SOURCE << "of the group: the ranks' calls differ";
  }
}

void Transfers::wait(const char* operation, const IdleHook& idle) {
  // Bytes in flight need both sides inside MPI: stay awake as long as they take at 1 GB/s.
  const Duration busy = Backoff::kBusy + std::chrono::nanoseconds(bytes_);
  wait_until([this] { return done(); }, operation, idle, busy);
}

size_t PendingSends::acquire(const char* operation, const IdleHook& idle) {
  size_t free = slots_.size();
  const auto find_free = [&] {   // the lowest, so that few buffers grow
    for (free = 0; free < slots_.size(); ++free)
      if (slots_[free].transfers.done()) return true;
    return false;
  };
  wait_until(find_free, operation, idle);
  return free;
}

bool PendingSends::progress() {
  bool nothing_pending = true;
  for (Slot& slot : slots_) nothing_pending &= slot.transfers.done();
  return nothing_pending;
}

bool PendingSends::flush(Duration limit) noexcept {
  try {
    Backoff backoff;
    while (!progress()) {
      backoff.pause();
      if (backoff.waited() > limit) return false;
    }
    return true;
  } catch (const std::exception& error) {
    log_error("flushing messages: {}", error.what());
    return false;
  }
}

}  // namespace trireme
