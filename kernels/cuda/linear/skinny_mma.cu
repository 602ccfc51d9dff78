#include "kernels/cuda/linear/skinny_mma.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/linear/skinny_mma.cuh"

namespace trireme::cuda {
namespace {

// Two blocks, of this kernel and the next, fit one processor's shared memory.
constexpr int kSharedLimit = 115200;
constexpr int64_t kMaxSharingBlocks = 512;  // of a grid whose blocks share tiles
constexpr size_t kMaxPartBytes = 32 * (64 + 1) * sizeof(float);
constexpr size_t kArrivalBytes = kMaxSharingBlocks * sizeof(uint32_t);
constexpr size_t kWorkspaceBytes = kArrivalBytes + 2 * kMaxSharingBlocks * kMaxPartBytes;

using Launcher = void (*)(const SkinnyArgs&, bool norm, unsigned grid, const Stream&);

struct TileRow {
  int tokens, rows, step, part_floats;
  Launcher launch;
};

// Above 48 KB a kernel asks for its shared memory once per device.
template <auto kKernel>
void allow_shared(int bytes, Device device) {
  static std::atomic<uint64_t> asked{0};
  const uint64_t bit = uint64_t(1) << (device.index % 64);
  if (asked.load(std::memory_order_relaxed) & bit) return;
  CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  // Room for the next kernel's blocks as well, without a change of the split that would wait for this one's.
  CUDA_CHECK(
      cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  asked.fetch_or(bit, std::memory_order_relaxed);
}

template <class Tile, bool kNorm>
void launch_as(const SkinnyArgs& args, unsigned grid, const Stream& stream) {
  constexpr int kShared = Tile::shared_bytes(kNorm);
  static_assert(kShared <= kSharedLimit && Tile::kPartFloats * sizeof(float) <= kMaxPartBytes);
  allow_shared<skinny_mma_kernel<Tile, kNorm>>(kShared, stream.device());
  launch_dependent(skinny_mma_kernel<Tile, kNorm>, dim3(grid), dim3(Tile::kThreads), kShared, stream, args);
}

template <class Tile>
constexpr TileRow tile_row() {
  return {Tile::kTokens, Tile::kRows, Tile::kStep, Tile::kPartFloats,
          [](const SkinnyArgs& args, bool norm, unsigned grid, const Stream& stream) {
            if (norm)
              launch_as<Tile, true>(args, grid, stream);
            else
              launch_as<Tile, false>(args, grid, stream);
          }};
}

// Tall tiles read x less often, low ones cut small layers finely enough.
constexpr std::array kTiles = {
    tile_row<SkinnyTile<1, 4, 1, 4, 5>>(), tile_row<SkinnyTile<1, 2, 2, 4, 5>>(), tile_row<SkinnyTile<1, 1, 2, 4, 8>>(),
    tile_row<SkinnyTile<1, 1, 2, 8, 4>>(), tile_row<SkinnyTile<2, 4, 1, 4, 4>>(), tile_row<SkinnyTile<2, 2, 2, 4, 4>>(),
    tile_row<SkinnyTile<4, 4, 1, 4, 3>>(), tile_row<SkinnyTile<4, 2, 1, 4, 5>>(),
};
enum { kTall8, kMiddle8, kLow8, kWide8, kTall16, kMiddle16, kTall32, kMiddle32 };

int64_t weight_rows(const SkinnyLinear& p) {
  return p.epilogue == SkinnyEpilogue::gated ? 2 * p.features : p.features;
}
int64_t tiles_of(const SkinnyLinear& p, const TileRow& tile) {
  return ceil_div(p.features, p.epilogue == SkinnyEpilogue::gated ? tile.rows / 2 : tile.rows);
}

// The share of the processors that work on average when every block has whole tiles.
double whole_tiles_share(int64_t tiles, int64_t processors) {
  return double(tiles) / double(ceil_div(tiles, processors) * processors);
}

// Sharing a tile among blocks costs a round trip at its end: the tallest tile that makes do without, else the tallest.
int default_tile(const SkinnyLinear& p, int64_t processors) {
  constexpr double kFull = 0.93;
  if (p.tokens > 16) return whole_tiles_share(tiles_of(p, kTiles[kMiddle32]), processors) >= kFull ? kMiddle32 : kTall32;
  const std::array<int, 3> candidates =
      p.tokens > 8 ? std::array{int(kTall16), int(kMiddle16), int(kMiddle16)} : std::array{int(kTall8), int(kMiddle8), int(kLow8)};
  for (int tile : candidates)
    if (whole_tiles_share(tiles_of(p, kTiles[size_t(tile)]), processors) >= kFull) return tile;
  return weight_rows(p) / 32 >= processors * 3 / 4 ? candidates[0] : candidates[2];
}

int64_t grid_of(SkinnyChoice::Grid grid, int64_t tiles, int64_t units, int64_t processors) {
  if (grid == SkinnyChoice::automatic)
    grid = whole_tiles_share(tiles, processors) >= 0.9 ? SkinnyChoice::whole_tiles : SkinnyChoice::one_per_processor;
  if (grid == SkinnyChoice::whole_tiles) return ceil_div(tiles, ceil_div(tiles, processors));
  const int64_t blocks = grid == SkinnyChoice::two_per_processor ? 2 * processors : processors;
  return std::min({blocks, units, kMaxSharingBlocks});
}

SkinnyArgs make_args(const SkinnyLinear& p, const TileRow& tile, const Stream& stream) {
  const bool gated = p.epilogue == SkinnyEpilogue::gated;
  SkinnyArgs args{};
  args.out = p.out, args.x = static_cast<const bf16*>(p.x), args.weight = static_cast<const bf16*>(p.weight);
  args.bias = static_cast<const bf16*>(p.bias), args.norm = p.norm, args.eps = p.eps;
  auto* memory = static_cast<char*>(workspace(WorkspaceUse::skinny, kWorkspaceBytes, stream));
  args.arrivals = reinterpret_cast<uint32_t*>(memory);
  args.parts = reinterpret_cast<float*>(memory + kArrivalBytes);
  args.out_stride = p.out_stride, args.x_stride = p.x_stride;
  args.row_tile_step = (gated ? 8 : 16) * p.in_features;
  args.half_step = (gated ? p.features : 8) * p.in_features;
  args.tokens = int(p.tokens), args.features = int(p.features), args.in_features = int(p.in_features);
  args.steps = int(ceil_div(p.in_features, tile.step));
  args.num_tiles = int(tiles_of(p, tile));
  args.tile_features = gated ? tile.rows / 2 : tile.rows;
  args.row_tile_features = gated ? 8 : 16, args.half_features = gated ? 0 : 8;
  args.epilogue = p.epilogue, args.gelu = p.gelu, args.out_is_float = p.out_is_float;
  return args;
}

}  // namespace

int skinny_tile_count() { return int(kTiles.size()); }
bool skinny_tile_fits(int tile, int64_t tokens) {
  const int most = kTiles[size_t(tile)].tokens;
  return tokens <= most && (most == 8 || tokens > most / 2);
}

void skinny_mma(const SkinnyLinear& p, SkinnyChoice choice, const Stream& stream) {
  CHECK(p.tokens > 0 && p.tokens <= kMaxSkinnyTokens && p.in_features > 0 && p.in_features % 8 == 0)
      << "skinny_mma: tokens" << p.tokens << "in_features" << p.in_features;
  CHECK(weight_rows(p) < INT32_MAX / 2 && p.in_features < INT32_MAX / 2) << "skinny_mma" << p.features;
  CHECK(!p.out_is_float || p.epilogue == SkinnyEpilogue::store) << "skinny_mma: float output";
  const int64_t processors = multiprocessor_count(stream.device());
  const bool chosen = choice.tile >= 0 && choice.tile < skinny_tile_count() && skinny_tile_fits(choice.tile, p.tokens);
  const TileRow& tile = kTiles[size_t(chosen ? choice.tile : default_tile(p, processors))];
  const SkinnyArgs args = make_args(p, tile, stream);
  const int64_t units = int64_t(args.num_tiles) * args.steps;
  const int64_t grid = grid_of(chosen ? choice.grid : SkinnyChoice::automatic, args.num_tiles, units, processors);
  tile.launch(args, p.norm != nullptr, grid_size(grid), stream);
}

}  // namespace trireme::cuda
