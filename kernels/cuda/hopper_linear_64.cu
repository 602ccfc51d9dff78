#include "kernels/cuda/hopper_linear.cuh"

namespace trireme::cuda {
std::span<const HopperKernel> hopper_kernels_64() { return hopper_kernels<1, 2, 8, 16, 24, 32, 48, 64, 96, 128>(); }
}  // namespace trireme::cuda
