#include "kernels/cuda/hopper_linear.cuh"

namespace trireme::cuda {
std::span<const HopperKernel> hopper_kernels_128_wide() { return hopper_kernels<2, 2, 8, 32, 64, 128>(); }
}  // namespace trireme::cuda
