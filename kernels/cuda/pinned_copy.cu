#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;

// A thread for every 16 bytes; the last one takes what is left, byte by byte. What comes from the host is there before
// the launch, so it is read while the previous kernel ends.
template <bool kToDevice>
__global__ void pinned_copy_kernel(uint4* to, const uint4* from, size_t bytes) {
  let_next_kernel_start();
  const size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x;
  const bool whole = (i + 1) * sizeof(uint4) <= bytes;
  uint4 value{};
  if (kToDevice && whole) value = __ldcv(from + i);
  wait_for_previous_kernel();
  if (!kToDevice && whole) value = from[i];
  if (whole) to[i] = value;
  if (whole || i * sizeof(uint4) >= bytes) return;
  for (size_t at = i * sizeof(uint4); at < bytes; ++at)
    reinterpret_cast<char*>(to)[at] = reinterpret_cast<const volatile char*>(from)[at];
}

}  // namespace

void pinned_copy(void* to, const void* from, size_t bytes, bool to_device, const Stream& stream) {
  const dim3 grid(grid_size(ceil_div(int64_t(bytes), int64_t(sizeof(uint4)) * kThreads)));
  launch_dependent(to_device ? pinned_copy_kernel<true> : pinned_copy_kernel<false>, grid, dim3(kThreads), 0, stream,
                   static_cast<uint4*>(to), static_cast<const uint4*>(from), bytes);
}

}  // namespace trireme::cuda
