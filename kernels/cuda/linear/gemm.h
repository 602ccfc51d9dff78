#pragma once
// Dense matrix products by cuBLASLt. Host code; any thread.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/stream.h"

namespace trireme::cuda {

// out[t, n] = sum_k x[t, k] weight[n, k] (+ bias[n]) (+ out[t, n]), float32 accumulation. All but `out` are bf16.
struct Gemm {
  void* out = nullptr;
  const void* x = nullptr;
  const void* weight = nullptr;  // [out_features, in_features], contiguous
  const void* bias = nullptr;    // bf16 [out_features] or null; with float32 output always null
  bool out_is_float = false;     // else bf16
  bool add_to_out = false;       // rounded once
  int64_t tokens = 0, out_features = 0, in_features = 0;
  int64_t out_stride = 0, x_stride = 0;  // elements between rows
};

// The bits of a cublasLtMatmulAlgo_t: good for this library's version only.
using GemmAlgorithm = std::array<uint64_t, 8>;

// False where cuBLASLt has no algorithm for these shapes and alignments; then nothing was launched. Without a (working)
// `algorithm` the library's first; either way one that never reduces with atomics: same call, same bits.
bool gemm(const Gemm& problem, const GemmAlgorithm* algorithm, const Stream& stream);

// What may be the fastest for a problem: the library's suggestions, its favourite first, then (with_tiles) some more whose
// tiles fill whole waves of processors (gemm_tiles.h); two dozen in all.
std::vector<GemmAlgorithm> gemm_algorithms(const Gemm& problem, bool with_tiles, const Stream& stream);

size_t gemm_library_version();

}  // namespace trireme::cuda
