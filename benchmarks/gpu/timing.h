#pragma once
// Times device work as the engine runs it, in a CUDA graph, and holds it against what this GPU measured just now.

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <string>

#include "base/cuda_check.h"
#include "base/stream.h"

namespace trireme::bench {

// Launches number `repetition` of a measurement; buffers larger than the L2 cache are rotated by it.
using Launch = std::function<void(int repetition)>;

class Timer {
 public:
  Timer() {
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Seconds per launch: the median of kPasses replays of a graph of `repetitions` launches.
  double seconds(const Stream& stream, int repetitions, const Launch& launch) {
    for (int i = 0; i < repetitions; ++i) launch(i);  // first uses may allocate and choose algorithms
    stream.synchronize();
    cudaGraphExec_t graph = capture(stream, repetitions, launch);
    std::array<float, kPasses> milliseconds{};
    CUDA_CHECK(cudaGraphLaunch(graph, stream.get()));
    for (float& pass : milliseconds) {
      CUDA_CHECK(cudaEventRecord(begin_, stream.get()));
      CUDA_CHECK(cudaGraphLaunch(graph, stream.get()));
      CUDA_CHECK(cudaEventRecord(end_, stream.get()));
      CUDA_CHECK(cudaEventSynchronize(end_));
      CUDA_CHECK(cudaEventElapsedTime(&pass, begin_, end_));
    }
    CUDA_CHECK(cudaGraphExecDestroy(graph));
    std::nth_element(milliseconds.begin(), milliseconds.begin() + kPasses / 2, milliseconds.end());
    return double(milliseconds[kPasses / 2]) * 1e-3 / repetitions;
  }

 private:
  static constexpr int kPasses = 7;

  static cudaGraphExec_t capture(const Stream& stream, int repetitions, const Launch& launch) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < repetitions; ++i) launch(i);
    CUDA_CHECK(cudaStreamEndCapture(stream.get(), &graph));
    CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
    return executable;
  }

  cudaEvent_t begin_, end_;
};

// The two rates that bound everything else.
struct Limits {
  double bytes_per_second = 0, flops_per_second = 0;
};

// name   12.3 us   4.10 TB/s   310.0 TFLOP/s   (88 % of the limit): the limit is the longer of moving the bytes
// and doing the arithmetic at the measured rates.
inline void report(const std::string& name, double seconds, double bytes, double flops, const Limits& limits) {
  const double bound = std::max(bytes / limits.bytes_per_second, flops / limits.flops_per_second);
  std::printf("%-44s %10.2f us %7.2f TB/s %8.1f TFLOP/s  (%3.0f %% of the limit)\n", name.c_str(), seconds * 1e6,
              bytes / seconds * 1e-12, flops / seconds * 1e-12, 100 * bound / seconds);
  std::fflush(stdout);
}

}  // namespace trireme::bench
