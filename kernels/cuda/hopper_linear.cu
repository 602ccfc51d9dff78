#include "kernels/cuda/hopper_linear.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/cuda/common/tensor_map.h"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/hopper_linear.cuh"

namespace trireme::cuda {
namespace {

constexpr int kStaticShared = 1024;  // at most, of a kernel
// Two blocks, of this kernel and the next, fit one processor; or all that a block may have.
constexpr int kHalf = 115200 - kStaticShared, kWhole = 227 * 1024 - kStaticShared;
constexpr int kMaxSplits = 8;

struct TileRow {
  int groups, shared;
};
constexpr std::array kTiles = {TileRow{1, kHalf}, TileRow{1, kWhole}, TileRow{2, kHalf}, TileRow{2, kWhole},
                               TileRow{4, kWhole}};

// What a kernel is for these tokens and rows.
struct Kernel {
  void (*function)(HopperArgs);
  std::atomic<uint64_t>* asked;  // by device: for its shared memory
  int tokens, rows, threads, step, stage_bytes, max_stages, column_tiles;
  int part_bytes(int splits) const { return splits * int(ceil_div(column_tiles, splits)) * (threads - kWarpSize) * 16; }
  int stages(int shared) const { return std::min((shared - kPanelGroupBytes) / stage_bytes, max_stages); }
};

template <int kTokens, int kGroups>
Kernel kernel() {
  using Tile = HopperTile<kTokens, kGroups, kGroups == 1 ? 2 : 1>;
  static std::atomic<uint64_t> asked{0};
  return {hopper_linear_kernel<Tile>, &asked, Tile::kTokens, Tile::kRows, Tile::kThreads, Tile::kStep, Tile::kStageBytes,
          Tile::kMaxStages, Tile::kColumnTiles};
}

const Kernel& kernel_of(int64_t tokens, int groups) {
  static const std::array kKernels = {
      std::array{kernel<8, 1>(), kernel<16, 1>(), kernel<32, 1>(), kernel<64, 1>(), kernel<128, 1>()},
      std::array{kernel<8, 2>(), kernel<16, 2>(), kernel<32, 2>(), kernel<64, 2>(), kernel<128, 2>()},
      std::array{kernel<8, 4>(), kernel<16, 4>(), kernel<32, 4>(), kernel<64, 4>(), kernel<128, 4>()}};
  const auto& row = kKernels[groups == 1 ? 0 : groups == 2 ? 1 : 2];
  return *std::find_if(row.begin(), row.end() - 1, [&](const Kernel& k) { return k.tokens >= tokens; });
}

// Whether the code that runs here is made for sm_90a.
bool made_for(Device device) {
  if (!TRIREME_WITH_WGMMA) return false;
  static std::array<std::atomic<int8_t>, 64> known{};  // 0: not asked
  std::atomic<int8_t>& answer = known[size_t(device.index) % known.size()];
  if (answer.load(std::memory_order_relaxed) == 0) {
    int major = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
    answer.store(major == 9 ? 1 : -1, std::memory_order_relaxed);
  }
  return answer.load(std::memory_order_relaxed) > 0;
}

// Above 48 KB a kernel asks for its shared memory, once per device.
void allow_shared(const Kernel& kernel, Device device) {
  const uint64_t bit = uint64_t(1) << (device.index % 64);
  if (kernel.asked->load(std::memory_order_relaxed) & bit) return;
  const auto* function = reinterpret_cast<const void*>(kernel.function);
  CUDA_CHECK(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kWhole));
  // Room for the next kernel's blocks as well, without a change of the split that would wait for this one's.
  CUDA_CHECK(
      cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  kernel.asked->fetch_or(bit, std::memory_order_relaxed);
}

int64_t tile_features(const SkinnyLinear& p, const Kernel& kernel) {
  return p.epilogue == SkinnyEpilogue::gated ? kernel.rows / 2 : kernel.rows;
}

CUtensorMap weight_map(const SkinnyLinear& p, const Kernel& kernel) {
  const auto k = uint64_t(p.in_features), n = uint64_t(p.features), row_bytes = 2 * k;
  const auto rows = uint32_t(kernel.rows);
  if (p.epilogue == SkinnyEpilogue::gated)
    return make_tensor_map(p.weight, std::array{k, uint64_t(8), uint64_t(2), n / 8},
                           std::array{row_bytes, n * row_bytes, 8 * row_bytes},
                           std::array{uint32_t(kPanelColumns), 8u, 2u, rows / 16});
  return make_tensor_map(p.weight, std::array{k, n}, std::array{row_bytes}, std::array{uint32_t(kPanelColumns), rows});
}

CUtensorMap x_map(const SkinnyLinear& p, const Kernel& kernel) {
  const auto k = uint64_t(p.in_features), stride = p.tokens > 1 ? 2 * uint64_t(p.x_stride) : 2 * k;
  return make_tensor_map(p.x, std::array{k, uint64_t(p.tokens)}, std::array{stride},
                         std::array{uint32_t(kPanelColumns), uint32_t(kernel.tokens)});
}

HopperArgs make_args(const SkinnyLinear& p, const Kernel& kernel, const TileRow& tile, int splits) {
  HopperArgs args{};
  args.weights = weight_map(p, kernel), args.x = x_map(p, kernel);
  args.out = p.out, args.bias = static_cast<const bf16*>(p.bias), args.out_stride = p.out_stride;
  args.tokens = int(p.tokens), args.features = int(p.features);
  args.steps = int(ceil_div(p.in_features, kernel.step));
  args.tile_features = int(tile_features(p, kernel));
  args.num_tiles = int(ceil_div(p.features, args.tile_features));
  args.stages = kernel.stages(tile.shared), args.splits = splits;
  args.epilogue = p.epilogue, args.gelu = p.gelu, args.out_is_float = p.out_is_float;
  args.pairs = (p.tokens == 1 || p.out_stride % 2 == 0) && is_aligned(p.out, p.out_is_float ? 8 : 4);
  return args;
}

}  // namespace

int hopper_tile_count() { return int(kTiles.size()); }

bool hopper_fits(const SkinnyLinear& p, HopperChoice choice, Device device) {
  if (p.norm || p.tokens < 1 || p.tokens > kMaxHopperTokens || p.in_features < 1 || p.in_features % 8 != 0) return false;
  if (!is_aligned(p.x, 16) || !is_aligned(p.weight, 16) || (p.tokens > 1 && p.x_stride % 8 != 0)) return false;
  if (p.epilogue == SkinnyEpilogue::gated && p.features % 8 != 0) return false;
  if (p.features > INT32_MAX / 4 || p.in_features > INT32_MAX / 4 || !made_for(device)) return false;
  if (choice.tile < 0 || choice.tile >= hopper_tile_count() || choice.splits < 0 || choice.splits > kMaxSplits)
    return false;
  const TileRow& tile = kTiles[size_t(choice.tile)];
  const Kernel& kernel = kernel_of(p.tokens, tile.groups);
  const int stages = kernel.stages(tile.shared);
  if (stages < 2) return false;
  return choice.splits < 2 || (choice.splits <= ceil_div(p.in_features, kernel.step) &&
                               kernel.part_bytes(choice.splits) <= stages * kernel.stage_bytes);
}

std::vector<HopperChoice> hopper_candidates(const SkinnyLinear& p, Device device) {
  std::vector<HopperChoice> candidates;
  for (int tile = 0; tile < hopper_tile_count(); ++tile) {
    for (int splits = 0; splits <= kMaxSplits; ++splits) {
      const HopperChoice choice{tile, splits};
      if (!hopper_fits(p, choice, device)) continue;
      const Kernel& kernel = kernel_of(p.tokens, kTiles[size_t(tile)].groups);
      const int64_t tiles = ceil_div(p.features, tile_features(p, kernel)), processors = multiprocessor_count(device);
      const int64_t blocks = tiles * std::max(splits, 1);
      if (splits >= 2 && (blocks < processors / 2 || blocks > 2 * processors)) continue;
      if (splits == 1 && tiles <= processors) continue;  // the same as 0
      candidates.push_back(choice);
    }
  }
  return candidates;
}

void hopper_linear(const SkinnyLinear& p, HopperChoice choice, const Stream& stream) {
  CHECK(hopper_fits(p, choice, stream.device())) << "hopper_linear: tokens" << p.tokens << "tile" << choice.tile;
  CHECK(!p.out_is_float || p.epilogue == SkinnyEpilogue::store) << "hopper_linear: float output";
  const TileRow& tile = kTiles[size_t(choice.tile)];
  const Kernel& kernel = kernel_of(p.tokens, tile.groups);
  const int splits = std::max(choice.splits, 1);
  const HopperArgs args = make_args(p, kernel, tile, splits);
  allow_shared(kernel, stream.device());
  int64_t blocks = int64_t(args.num_tiles) * splits;
  if (choice.splits == 1) blocks = std::min<int64_t>(blocks, multiprocessor_count(stream.device()));
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = unsigned(splits), attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid_size(blocks)), config.blockDim = dim3(unsigned(kernel.threads));
  config.dynamicSmemBytes = size_t(args.stages * kernel.stage_bytes + kPanelGroupBytes), config.stream = stream.get();
  config.attrs = attributes, config.numAttrs = splits > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel.function, args));
}

}  // namespace trireme::cuda
