#pragma once
// Which tiles cuBLASLt's kernels for Hopper should cut an output into, judged by the waves of processors they fill: its
// own suggestions leave up to a fifth of the processors idle. Host code.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trireme::cuda {

// features x tokens of the output are one thread block's work. id: a cublasLtMatmulTile_t.
struct GemmTile {
  uint32_t id;
  int features, tokens;
};

// Those that take the least time if the blocks of a wave take as long as their tile is large, the best first: at most
// `most`, and none that is much worse than the best.
std::vector<GemmTile> likely_tiles(int64_t features, int64_t tokens, int64_t processors, size_t most);

}  // namespace trireme::cuda
