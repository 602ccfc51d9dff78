#pragma once
// MPI as this folder uses it: non-blocking point-to-point messages on communicators of our own, with errors as
// InternalErrors. Included in parallel/ only.

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "parallel/wait.h"

namespace trireme {

std::string mpi_error_text(int status);

#define MPI_CHECK(call)                                                                             \
  do {                                                                                              \
    const int mpi_check_status = (call);                                                            \
    CHECK(mpi_check_status == MPI_SUCCESS) << #call << "->" << mpi_error_text(mpi_check_status); \
  } while (0)

// Starts MPI (FUNNELED) unless it runs already, and ends what it started; not while an exception unwinds:
// then other ranks may never come to MPI_Finalize, and leaving without it makes mpirun end them.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;

 private:
  bool owned_ = false;
};

// Owns an MPI communicator split off from `parent`: the ranks that give the same color, ordered by key.
class MpiGroup {
 public:
  MpiGroup(MPI_Comm parent, int color, int key);
  ~MpiGroup();
  MpiGroup(MpiGroup&& other) noexcept;
  MpiGroup& operator=(MpiGroup&&) = delete;

  MPI_Comm comm() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
};

inline constexpr int64_t kEagerMessageBytes = 32 << 10;   // a decode step's activations

// The messages of one operation. Sender and receiver must name the same byte count; receivers check it.
// The bytes must stay put until done() said true.
class Transfers {
 public:
  // Messages up to eager_limit travel in pieces that need nobody's attention on the way; both sides name the same.
  void send(const MpiGroup& group, const void* data, int64_t bytes, int destination, int tag,
            int64_t eager_limit = kEagerMessageBytes);
  void receive(const MpiGroup& group, void* data, int64_t bytes, int source, int tag,
               int64_t eager_limit = kEagerMessageBytes);
  bool done();                                             // progresses MPI; stays true until the next message
  void wait(const char* operation, const IdleHook& idle);
  bool empty() const { return requests_.empty(); }

 private:
  void check_received_sizes() const;
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
  std::vector<int> expected_;                              // by request: bytes to receive, -1 for a send
  int64_t bytes_ = 0;
};

// Sends whose bytes this object owns until MPI has taken them; at most `limit` at once.
class PendingSends {
 public:
  explicit PendingSends(size_t limit) : slots_(limit) {}

  // A free slot's buffer, to be filled and then started; waits (progressing) where all are taken.
  size_t acquire(const char* operation, const IdleHook& idle);
  std::vector<std::byte>& bytes(size_t slot) { return slots_[slot].bytes; }
  Transfers& transfers(size_t slot) { return slots_[slot].transfers; }

  bool progress();                                         // true: nothing is pending
  // At a clean end: gives peers that long to take what is pending. False: they did not.
  bool flush(Duration limit) noexcept;

 private:
  struct Slot {
    std::vector<std::byte> bytes;
    Transfers transfers;
  };
  std::vector<Slot> slots_;
};

}  // namespace trireme
