#include "kernels/cuda/linear/call_chain.h"

#include "base/cuda_check.h"

namespace trireme::cuda {

CallChain::CallChain(const Stream& stream, int calls, const std::function<void()>& call)
    : stream_(stream), calls_(calls) {
  cudaGraph_t recorded = nullptr;
  // Relaxed: other threads of the process (NCCL's proxy, profilers) may go on calling CUDA meanwhile.
  CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed));
  for (int i = 0; i < calls; ++i) call();
  CUDA_CHECK(cudaStreamEndCapture(stream.get(), &recorded));
  CUDA_CHECK(cudaGraphGetNodes(recorded, nullptr, &nodes_));
  CUDA_CHECK(cudaGraphInstantiate(&graph_, recorded, 0));
  CUDA_CHECK(cudaGraphDestroy(recorded));
  CUDA_CHECK(cudaGraphUpload(graph_, stream.get()));
  CUDA_CHECK(cudaEventCreate(&begin_));
  CUDA_CHECK(cudaEventCreate(&end_));
}

CallChain::~CallChain() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
  cudaGraphExecDestroy(graph_);
}

double CallChain::replay() {
  CUDA_CHECK(cudaEventRecord(begin_, stream_.get()));
  CUDA_CHECK(cudaGraphLaunch(graph_, stream_.get()));
  CUDA_CHECK(cudaEventRecord(end_, stream_.get()));
  CUDA_CHECK(cudaEventSynchronize(end_));
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
  return double(milliseconds) * 1e-3 / calls_;
}

}  // namespace trireme::cuda
