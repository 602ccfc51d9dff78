#pragma once
// A linear layer on its way to the kernel that computes it. Included by CUDA files only.

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/hopper_linear.h"
#include "kernels/cuda/linear/skinny_mma.h"
#include "kernels/cuda/linear/wide_linear.h"
#include "kernels/linear_choices.h"

namespace trireme::cuda {

struct LinearCall {
  TensorView out, x, weight, bias;  // bias may be empty
  TensorView norm = {};             // [in_features] f32 or empty
  float eps = 0;
  SkinnyEpilogue epilogue = SkinnyEpilogue::store;
  bool gelu = false;
};

// Tokens up to which nothing has to be measured for the skinny kernel to be taken.
inline constexpr int64_t kSkinnyByDefault = 16;

// By one of our own kernels. False where the shape, the alignments or the measurements speak for another way; then
// nothing was launched.
bool try_own(const LinearCall& call, const Stream& stream);
// Whether the call without its norm, which then has to be computed before, is one for try_own.
bool wants_normed(const LinearCall& call, const Stream& stream);
SkinnyLinear skinny_problem(const LinearCall& call);

// Without its bias. The measured algorithm is gemm_algorithm()'s.
Gemm gemm_problem(TensorView out, TensorView x, TensorView weight);
const GemmAlgorithm* gemm_algorithm(const Gemm& problem);

}  // namespace trireme::cuda
