#include "kernels/cuda/linear/gemm_tiles.h"

#include <gtest/gtest.h>

namespace trireme::cuda {
namespace {

constexpr int64_t kProcessors = 132;

int64_t waves(const GemmTile& tile, int64_t features, int64_t tokens) {
  const int64_t tiles = ((features + tile.features - 1) / tile.features) * ((tokens + tile.tokens - 1) / tile.tokens);
  return (tiles + kProcessors - 1) / kProcessors;
}

// What a processor computes, over its fair share.
double excess(const GemmTile& tile, int64_t features, int64_t tokens) {
  return double(waves(tile, features, tokens) * tile.features * tile.tokens * kProcessors) / double(features * tokens);
}

TEST(GemmTiles, TheFirstFillsItsWaves) {
  for (const auto& [features, tokens] : {std::pair<int64_t, int64_t>{28672, 256},
                                         {4096, 256},
                                         {6144, 256},
                                         {6144, 384},
                                         {4096, 1280},
                                         {7168, 512},
                                         {28672, 128},
                                         {4096, 128}}) {
    const GemmTile best = likely_tiles(features, tokens, kProcessors, 1).at(0);
    EXPECT_LT(excess(best, features, tokens), 1.05)
        << features << " x " << tokens << ": " << best.features << "x" << best.tokens;
  }
}

TEST(GemmTiles, NoneIsMuchWorseThanTheFirst) {
  for (int64_t features : {64, 1536, 4096, 28672})
    for (int64_t tokens : {65, 96, 200, 320, 1000}) {
      const std::vector<GemmTile> tiles = likely_tiles(features, tokens, kProcessors, 6);
      ASSERT_FALSE(tiles.empty());
      ASSERT_LE(tiles.size(), 6u);
      for (const GemmTile& tile : tiles)
        EXPECT_LT(excess(tile, features, tokens), 1.4 * excess(tiles.front(), features, tokens));
    }
}

TEST(GemmTiles, IdsAreTheLibrarys) {
  for (int64_t tokens : {256, 512}) {
    const GemmTile tile = likely_tiles(tokens == 256 ? 6144 : 4096, tokens, kProcessors, 1).at(0);
    const bool wide = tokens == 512;
    EXPECT_EQ(tile.id, wide ? 20u : 28u);  // CUBLASLT_MATMUL_TILE_128x128, _96x128
    EXPECT_EQ(tile.features, wide ? 128 : 96);
    EXPECT_EQ(tile.tokens, 128);
  }
  EXPECT_TRUE(likely_tiles(4096, 256, kProcessors, 0).empty());
}

}  // namespace
}  // namespace trireme::cuda
