#pragma once
// CUDA_CHECK(call): a failed CUDA call is ours to mend; the message has the call, file, line and CUDA's words.
// Included only by files that are compiled with CUDA.

#include <cuda_runtime.h>

#include "base/check.h"

#define CUDA_CHECK(call)                                                                        \
  do {                                                                                          \
    const cudaError_t cuda_check_status = (call);                                               \
    CHECK(cuda_check_status == cudaSuccess) << #call << "->" << cudaGetErrorString(cuda_check_status); \
  } while (0)
