#include "kernels/cuda/linear/gemm_tiles.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>

namespace trireme::cuda {
namespace {

#define TILE(features, tokens) \
  GemmTile { CUBLASLT_MATMUL_TILE_##features##x##tokens, features, tokens }
#define WIDE(features) TILE(features, 64), TILE(features, 128)
#define TALL(tokens) TILE(64, tokens), TILE(128, tokens)

// One side is a warpgroup's 64 rows or a multiple, the other any multiple of 8.
constexpr std::array kTiles = {
    WIDE(48),  WIDE(56),  WIDE(64),  WIDE(72),  WIDE(80),  WIDE(88),  WIDE(96),  WIDE(104), WIDE(112), WIDE(120),
    WIDE(128), WIDE(136), WIDE(144), WIDE(152), WIDE(160), WIDE(168), WIDE(176), WIDE(184), WIDE(192), WIDE(200),
    WIDE(208), WIDE(216), WIDE(224), WIDE(232), WIDE(240), WIDE(248), WIDE(256), TALL(72),  TALL(80),  TALL(88),
    TALL(96),  TALL(104), TALL(112), TALL(120), TALL(136), TALL(144), TALL(152), TALL(160), TALL(168), TALL(176),
    TALL(184), TALL(192), TALL(200), TALL(208), TALL(216), TALL(224), TALL(232), TALL(240), TALL(248), TALL(256)};

#undef TALL
#undef WIDE
#undef TILE

constexpr double kWorthATry = 1.12;  // times the least cost

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// In elements of the output per processor: what its tiles compute, and their edges, along which operands are read.
int64_t cost(const GemmTile& tile, int64_t features, int64_t tokens, int64_t processors) {
  constexpr int64_t kEdge = 16;
  const int64_t tiles = ceil_div(features, tile.features) * ceil_div(tokens, tile.tokens);
  return ceil_div(tiles, processors) * (tile.features * tile.tokens + kEdge * (tile.features + tile.tokens));
}

}  // namespace

std::vector<GemmTile> likely_tiles(int64_t features, int64_t tokens, int64_t processors, size_t most) {
  std::vector<GemmTile> tiles(kTiles.begin(), kTiles.end());
  const auto cost_of = [&](const GemmTile& tile) { return cost(tile, features, tokens, processors); };
  std::sort(tiles.begin(), tiles.end(), [&](const GemmTile& a, const GemmTile& b) { return cost_of(a) < cost_of(b); });
  const auto is_dear = [&](const GemmTile& tile) {
    return double(cost_of(tile)) > kWorthATry * double(cost_of(tiles.front()));
  };
  const auto end = std::find_if(tiles.begin(), tiles.end(), is_dear);
  tiles.resize(std::min(most, size_t(end - tiles.begin())));
  return tiles;
}

}  // namespace trireme::cuda
