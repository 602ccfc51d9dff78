#pragma once
// Linear layers of up to kMaxHopperTokens tokens by warpgroup products (sm_90a): tensor-map copies stream the weights
// through a deep ring in shared memory whose first stages are on their way before the previous kernel has ended. Up to
// kMaxNormedHopperTokens the norm of the input is part of it.

#include <vector>

#include "kernels/cuda/linear/skinny_mma.h"

namespace trireme::cuda {

// Beyond, what blocks read of x each for itself costs more than the weights.
inline constexpr int64_t kMaxHopperTokens = 64;
// Beyond, every block's share of the norm costs more than a kernel of its own.
inline constexpr int64_t kMaxNormedHopperTokens = 8;

struct HopperChoice {
  int tile = 0;    // a row of the table of tile shapes
  int splits = 1;  // blocks of a cluster that share a tile, each with some of its k
};

int hopper_tile_count();
// Whether the kernel can do it so: the GPU, the shape, the alignments, the room, a norm of too many tokens.
bool hopper_fits(const SkinnyLinear& problem, HopperChoice choice, Device device);
// The ways worth a measurement.
std::vector<HopperChoice> hopper_candidates(const SkinnyLinear& problem, Device device);

// The same call gives the same bits: parts of a sum are added in the order of k.
void hopper_linear(const SkinnyLinear& problem, HopperChoice choice, const Stream& stream);

}  // namespace trireme::cuda
