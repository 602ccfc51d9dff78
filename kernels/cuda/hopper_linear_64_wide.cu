#include "kernels/cuda/hopper_linear.cuh"

namespace trireme::cuda {
std::span<const HopperKernel> hopper_kernels_64_wide() { return hopper_kernels<1, 4, 8, 32, 64>(); }
}  // namespace trireme::cuda
