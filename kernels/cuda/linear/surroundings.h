#pragma once
// A linear layer with what its model has around it, computed as kernels/cuda/linear.cu would: what one kernel has
// inside and another leaves to a kernel of its own then weighs what it costs. For measurements; included by CUDA files
// only.

#include "kernels/cuda/linear/call.h"
#include "kernels/linear_tuning.h"

namespace trireme::cuda {

// Its input, output and norm are its own, the weight is the caller's.
class LinearSurroundings {
 public:
  LinearSurroundings(const LinearWeight& shape, DType out, const LinearRole& role, int64_t most_tokens,
                     const Stream& stream);

  // weight: [out_features, in_features].
  void run(const LinearChoice& choice, int64_t tokens, TensorView weight);

  // What the library is asked, but for its addition, which any algorithm can do.
  Gemm library_problem(int64_t tokens, TensorView weight) const;
  SkinnyLinear own_problem(bool with_norm, int64_t tokens, TensorView weight) const;
  // Kernels of a call by the library that are not the library's.
  size_t other_kernels(int64_t tokens) const { return size_t(has_predecessor(tokens)) + size_t(role_.gated); }
  bool float_out() const { return out_.view().dtype() == DType::f32; }

 private:
  // A norm, or the sum or attention that stands before a layer: a small kernel either way, which many tokens drown.
  static bool has_predecessor(int64_t tokens) { return tokens <= 512; }
  TensorView input(int64_t tokens) const;
  void run_library(const GemmAlgorithm& algorithm, int64_t tokens, TensorView weight);

  const LinearRole role_;
  const Stream& stream_;
  Tensor out_;
  LinearWeight x_;
  Tensor normed_, norm_, inner_;  // inner_: of a gated layer
};

}  // namespace trireme::cuda
