#pragma once
// Dense matrix products by cuBLASLt. Host code; any thread.

#include <cstdint>

#include "base/stream.h"

namespace trireme::cuda {

// out[t, n] = sum_k x[t, k] weight[n, k] (+ bias[n]), float32 accumulation. All but `out` are bf16.
struct Gemm {
  void* out = nullptr;
  const void* x = nullptr;
  const void* weight = nullptr;  // [out_features, in_features], contiguous
  const void* bias = nullptr;    // bf16 [out_features] or null; with float32 output always null
  bool out_is_float = false;     // else bf16
  int64_t tokens = 0, out_features = 0, in_features = 0;
  int64_t out_stride = 0, x_stride = 0;  // elements between rows
};

// False where cuBLASLt has no algorithm for these shapes and alignments; then nothing was launched. The
// algorithm depends only on the shapes and alignments and never reduces with atomics: same call, same bits.
bool gemm(const Gemm& problem, const Stream& stream);

}  // namespace trireme::cuda
