#pragma once
// Linear layers of more tokens than hopper_linear.h takes, up to some thousands, by warpgroup products (sm_90a): tokens
// are the 64-row operand, weight rows the wide one, in tiles whose width fills whole waves of processors. The blocks of
// a cluster share what they read and split long sums.

#include <vector>

#include "kernels/cuda/linear/skinny_mma.h"

namespace trireme::cuda {

struct WideChoice {
  int tile = 0;  // a row of the table of tile shapes
  // A cluster's blocks: tiles of neighbouring tokens, which read their weights once, times tiles of neighbouring
  // features, which read x once, times parts of their k.
  int token_tiles = 1, feature_tiles = 1, splits = 1;

  // As one number, in decimal digits, and back.
  int packed() const { return token_tiles * 100 + feature_tiles * 10 + splits; }
  static WideChoice unpacked(int tile, int number) { return {tile, number / 100, number / 10 % 10, number % 10}; }
};

int wide_tile_count();
// Whether the kernel can do it so: the GPU, the shape, the alignments, the room. A norm it never does.
bool wide_fits(const SkinnyLinear& problem, const WideChoice& choice, Device device);
// The ways worth a measurement, at most `most`, the likeliest first.
std::vector<WideChoice> wide_candidates(const SkinnyLinear& problem, size_t most, Device device);

// The same call gives the same bits: parts of a sum are added in the order of k.
void wide_linear(const SkinnyLinear& problem, const WideChoice& choice, const Stream& stream);

}  // namespace trireme::cuda
