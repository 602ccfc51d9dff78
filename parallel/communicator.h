#pragma once
// Collectives on TensorViews among one group of ranks, ordered on a stream; never synchronizes. The CPU back
// end (MPI) is done when a call returns; the CUDA back end (NCCL) only queues. All ranks of a group make the
// same calls in the same order. Views are contiguous; empty views are allowed and do nothing everywhere.

#include <functional>
#include <memory>

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;    // within the group
  virtual int size() const = 0;

  // In place. f64, f32 (cpu: summed in rank order, so the bits do not depend on sizes), bf16, i32, i64.
  virtual void all_reduce_sum(TensorView data, const Stream& stream) = 0;
  // out: [size(), ...shape of in], rank-major. Any plain dtype.
  virtual void all_gather(TensorView out, TensorView in, const Stream& stream) = 0;
  // in: [size(), ...], out: [...] = sum over ranks of in[rank()], rank order on the cpu.
  virtual void reduce_scatter_sum(TensorView out, TensorView in, const Stream& stream) = 0;
  virtual void broadcast(TensorView data, int root, const Stream& stream) = 0;
  // cpu: buffered, does not wait for the receiver (unless 32 earlier messages are still on their way).
  virtual void send(TensorView data, int destination, const Stream& stream) = 0;
  virtual void recv(TensorView data, int source, const Stream& stream) = 0;

  // Cheap and never waits: throws InternalError when the back end has noticed that a peer failed (cuda).
  virtual void check_health() {}
};

// While a CPU communicator waits for a peer it calls `idle` again and again (with back-off), so that rank 0's
// worker can pass plans on and beats go on moving. It may use the control channel, not a communicator. Null:
// nothing to do.
using IdleHook = std::function<void()>;

// A group of one: collectives copy or do nothing; send and recv are InternalErrors.
std::unique_ptr<Communicator> make_local_communicator(Device device);

}  // namespace trireme
