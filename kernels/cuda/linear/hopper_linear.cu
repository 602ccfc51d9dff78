#include "kernels/cuda/linear/hopper_linear.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <span>

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/linear/hopper_linear.cuh"
#include "kernels/cuda/linear/maps.h"

namespace trireme::cuda {
namespace {

constexpr int kStaticShared = 512;  // at most, of a kernel
// Two blocks, of this kernel and the next, fit one processor; or all that a block may have.
constexpr int kHalf = 114 * 1024 - 1024 - kStaticShared, kWhole = 227 * 1024 - kStaticShared;
constexpr int kMaxSplits = 8;

// One kernel: a tile's height and its number of tokens.
struct Kernel {
  void (*plain)(HopperArgs);
  void (*norm)(HopperArgs);  // null: of too many tokens
  int tokens, rows, threads;
  int step, stage_bytes, max_stages;            // step: k of a stage
  int (*sum_bytes)(int splits, bool with_norm);  // what peers send
  bool apart;  // x is fed, and what peers send has room of its own behind the ring
};

template <class Tile>
constexpr auto norm_kernel() -> void (*)(HopperArgs) {
  if constexpr (Tile::kFed) return hopper_linear_kernel<Tile, true>;
  return nullptr;
}
template <int kTokens, int kGroups, int kPanels>
constexpr Kernel kernel() {
  using Tile = HopperTile<kTokens, kGroups, kPanels>;
  return {hopper_linear_kernel<Tile, false>,
          norm_kernel<Tile>(),
          Tile::kTokens,
          Tile::kRows,
          Tile::kThreads,
          Tile::kStep,
          Tile::kStageBytes,
          Tile::kMaxStages,
          [](int splits, bool with_norm) { return Tile::sum_bytes(splits, with_norm); },
          Tile::kFed};
}
template <int kGroups, int kPanels>
constexpr std::array kKernels = {kernel<8, kGroups, kPanels>(), kernel<16, kGroups, kPanels>(),
                                 kernel<32, kGroups, kPanels>(), kernel<64, kGroups, kPanels>()};

// Low tiles need fewer splits to occupy all processors, tall ones read x half as often.
struct TileRow {
  std::span<const Kernel> kernels;  // by tokens, ascending
  int shared;
};
constexpr std::array kTiles = {TileRow{kKernels<1, 2>, kHalf}, TileRow{kKernels<1, 2>, kWhole},
                               TileRow{kKernels<2, 1>, kWhole}, TileRow{kKernels<2, 1>, kHalf}};

// The kernel of the fewest tokens that takes these.
const Kernel& kernel_of(const TileRow& tile, int64_t tokens) {
  return *std::find_if(tile.kernels.begin(), tile.kernels.end() - 1,
                       [&](const Kernel& k) { return k.tokens >= tokens; });
}
int apart_bytes(const Kernel& kernel, const SkinnyLinear& p, int splits) {
  return kernel.apart ? kernel.sum_bytes(splits, p.norm != nullptr) : 0;
}
int stages_of(const TileRow& tile, const Kernel& kernel, const SkinnyLinear& p, int splits) {
  const int room = tile.shared - kPanelGroupBytes - apart_bytes(kernel, p, splits);
  return std::min(room / kernel.stage_bytes, kernel.max_stages);
}

// Whether the code that runs here is made for this GPU.
bool made_for(Device device) {
  if (!TRIREME_WITH_WGMMA) return false;
  int major = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major == 9;
}

// Above 48 KB a kernel asks for its shared memory, once per device: all kernels at once.
void allow_shared(Device device) {
  static std::atomic<uint64_t> asked{0};
  const uint64_t bit = uint64_t(1) << (device.index % 64);
  if (asked.load(std::memory_order_relaxed) & bit) return;
  for (const TileRow& tile : kTiles)
    for (const Kernel& kernel : tile.kernels)
      for (auto* kernel_function : {kernel.plain, kernel.norm}) {
        if (!kernel_function) continue;
        const auto* function = reinterpret_cast<const void*>(kernel_function);
        CUDA_CHECK(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kWhole));
        // Room for the next kernel's blocks as well, without a change of the split that would wait for this one's.
        CUDA_CHECK(cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                                        cudaSharedmemCarveoutMaxShared));
      }
  asked.fetch_or(bit, std::memory_order_relaxed);
}

int64_t tile_features(const SkinnyLinear& p, const Kernel& kernel) {
  return p.epilogue == SkinnyEpilogue::gated ? kernel.rows / 2 : kernel.rows;
}

HopperArgs make_args(const SkinnyLinear& p, const Kernel& kernel, const HopperChoice& choice) {
  HopperArgs args{};
  args.weights = linear_weight_map(p, kernel.rows);
  if (!kernel.apart) args.x = linear_input_map(p, kernel.tokens);
  args.out = p.out, args.fed_x = static_cast<const bf16*>(p.x), args.bias = static_cast<const bf16*>(p.bias);
  args.out_stride = p.out_stride, args.x_stride = p.x_stride;
  args.norm = p.norm, args.eps = p.eps;
  args.tokens = int(p.tokens), args.features = int(p.features), args.in_features = int(p.in_features);
  args.steps = int(ceil_div(p.in_features, kernel.step));
  args.tile_features = int(tile_features(p, kernel));
  args.stages = stages_of(kTiles[size_t(choice.tile)], kernel, p, choice.splits);
  args.splits = choice.splits;
  args.epilogue = p.epilogue, args.gelu = p.gelu, args.out_is_float = p.out_is_float;
  args.pairs = (p.tokens == 1 || p.out_stride % 2 == 0) && is_aligned(p.out, p.out_is_float ? 8 : 4);
  return args;
}

// That there is such a tile, and its ring has room for two stages and for what peers send there.
bool has_room(const SkinnyLinear& p, const HopperChoice& choice) {
  if (choice.tile < 0 || choice.tile >= hopper_tile_count() || choice.splits < 1 || choice.splits > kMaxSplits)
    return false;
  const TileRow& tile = kTiles[size_t(choice.tile)];
  const Kernel& kernel = kernel_of(tile, p.tokens);
  const int stages = stages_of(tile, kernel, p, choice.splits);
  return stages >= 2 && choice.splits <= ceil_div(p.in_features, kernel.step) &&
         (kernel.apart || kernel.sum_bytes(choice.splits, false) <= stages * kernel.stage_bytes);
}

}  // namespace

int hopper_tile_count() { return int(kTiles.size()); }

bool hopper_fits(const SkinnyLinear& p, HopperChoice choice, Device device) {
  if (p.norm && (p.tokens > kMaxNormedHopperTokens || !is_aligned(p.norm, 16))) return false;
  if (p.tokens < 1 || p.tokens > kMaxHopperTokens) return false;
  if (p.in_features < 1 || p.in_features % 8 != 0) return false;
  if (!is_aligned(p.x, 16) || !is_aligned(p.weight, 16) || (p.tokens > 1 && p.x_stride % 8 != 0)) return false;
  if (p.epilogue == SkinnyEpilogue::gated && p.features % 8 != 0) return false;
  if (p.features > INT32_MAX / 4 || p.in_features > INT32_MAX / 4 || !made_for(device)) return false;
  return has_room(p, choice);
}

std::vector<HopperChoice> hopper_candidates(const SkinnyLinear& p, Device device) {
  std::vector<HopperChoice> candidates;
  const int64_t processors = multiprocessor_count(device);
  for (int tile = 0; tile < hopper_tile_count(); ++tile) {
    const int64_t tiles = ceil_div(p.features, tile_features(p, kernel_of(kTiles[size_t(tile)], p.tokens)));
    for (int splits = 1; splits <= kMaxSplits; ++splits) {
      // Too few blocks leave processors idle; more than two each only add what it costs to split.
      if (splits > 1 && (tiles * splits < processors / 2 || tiles * splits > 2 * processors)) continue;
      const HopperChoice choice{tile, splits};
      if (hopper_fits(p, choice, device)) candidates.push_back(choice);
    }
  }
  return candidates;
}

void hopper_linear(const SkinnyLinear& p, HopperChoice choice, const Stream& stream) {
  CHECK(hopper_fits(p, choice, stream.device())) << "hopper_linear: tokens" << p.tokens << "tile" << choice.tile;
  CHECK(!p.out_is_float || p.epilogue == SkinnyEpilogue::store) << "hopper_linear: float output";
  const Kernel& kernel = kernel_of(kTiles[size_t(choice.tile)], p.tokens);
  const HopperArgs args = make_args(p, kernel, choice);
  allow_shared(stream.device());
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = unsigned(choice.splits);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid_size(ceil_div(p.features, args.tile_features) * choice.splits));
  config.blockDim = dim3(unsigned(kernel.threads));
  config.dynamicSmemBytes =
      size_t(kPanelGroupBytes + args.stages * kernel.stage_bytes + apart_bytes(kernel, p, choice.splits));
  config.stream = stream.get();
  config.attrs = attributes, config.numAttrs = choice.splits > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, p.norm ? kernel.norm : kernel.plain, args));
}

}  // namespace trireme::cuda
