#pragma once
// A second stream for the sums over the TP group of a step that is cut into two halves: while one half's partial sums
// are added up, the compute stream works on the other half.
//
//   compute  attention A | attention B | MLP A       | MLP B       | attention A of the next layer ...
//   sums                 | A's         | B's         | A's         | B's
//
// All sums of such a step are queued here, in the same order on every rank; a half has at most one on its way. Nothing
// else of the group may run meanwhile: the step's last join() comes before whatever follows on the compute stream. One
// thread (the worker's).

#include <array>
#include <functional>

#include "base/stream.h"

namespace trireme {

extern bool x_skip, x_library;  // EXPERIMENT
extern int64_t x_percent;
extern int x_sm_target, x_chunks, x_chunk_target;
int64_t x_chunk_begin(int64_t rows, int chunk);
class SumStream {
 public:
  explicit SumStream(Device device, StreamPriority priority = StreamPriority::urgent);

  // Queues `sum`, called with the stream it is to use, behind all that `compute` has been given so far.
  void queue(int half, const Stream& compute, const std::function<void(const Stream&)>& sum);
  // Later work of `compute` waits for the half's sum.
  void join(int half, const Stream& compute) const;

 private:
  struct Half {
    Event computed, summed;
  };
  Stream stream_;
  std::array<Half, 8> halves_;
};

}  // namespace trireme
