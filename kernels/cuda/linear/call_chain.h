#pragma once
// What a call costs as a step runs it: many of them in a row in one CUDA graph, where launches cost the host nothing
// and a kernel may start before its predecessor has ended. Host code; one thread.

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>

#include "base/stream.h"

namespace trireme::cuda {

class CallChain {
 public:
  // Records `calls` calls; they run only when timed. What a call does at its first use must have happened before.
  CallChain(const Stream& stream, int calls, const std::function<void()>& call);
  ~CallChain();
  CallChain(const CallChain&) = delete;

  // Of one call, in one replay of the graph. Synchronizes.
  double replay();
  // Kernels and memory operations.
  size_t nodes_of_a_call() const { return nodes_ / size_t(calls_); }

 private:
  const Stream& stream_;
  int calls_;
  size_t nodes_ = 0;
  cudaGraphExec_t graph_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace trireme::cuda
