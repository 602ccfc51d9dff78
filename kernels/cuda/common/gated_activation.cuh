#pragma once
// Activations of gated layers, in float.

#include <cuda_runtime.h>

namespace trireme::cuda {

struct Silu {
  __device__ float operator()(float x) const { return x / (1.0f + expf(-x)); }
};
// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
struct GeluTanh {
  __device__ float operator()(float x) const {
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
  }
};

}  // namespace trireme::cuda
