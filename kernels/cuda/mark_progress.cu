#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"

namespace trireme::cuda {
namespace {

__global__ void mark_progress_kernel(volatile uint64_t* counter) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  *counter = *counter + 1;
}

}  // namespace

void mark_progress(uint64_t* counter, const Stream& stream) {
  launch_dependent(mark_progress_kernel, dim3(1), dim3(1), 0, stream, counter);
}

}  // namespace trireme::cuda
