#pragma once
// What hopper_linear.cu knows of the kernels of hopper_linear.cuh, which several files compile.

#include <cuda.h>

#include <span>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/hopper_linear.h"

namespace trireme::cuda {

struct HopperArgs {
  CUtensorMap weights, x;
  void* out;
  const bf16* bias;  // may be null
  int64_t out_stride;
  int tokens, features, steps, tile_features, stages;
  int splits, sharers;  // of a cluster: HopperChoice
  SkinnyEpilogue epilogue;
  bool gelu, out_is_float;
  bool pairs;  // two neighbours of `out` can be written at once
  bool keep;   // experiment
};

struct HopperKernel {
  void (*function)(HopperArgs);
  int tokens, rows;  // of a tile
  int consumers, threads;
  int step, stage_bytes, max_stages;  // step: k of a stage
  int column_tiles;                   // of 8 tokens
};

// By tokens, ascending.
std::span<const HopperKernel> hopper_kernels_64();
std::span<const HopperKernel> hopper_kernels_128();
std::span<const HopperKernel> hopper_kernels_64_wide();
std::span<const HopperKernel> hopper_kernels_128_wide();

}  // namespace trireme::cuda
