#include "kernels/cuda/linear/wide_linear.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/linear/maps.h"
#include "kernels/cuda/linear/wide_linear.cuh"

namespace trireme::cuda {
namespace {

constexpr int kMaxCluster = 8;  // more blocks a GPU need not be able to run

// One kernel: a tile's weight rows and tokens.
struct Kernel {
  void (*function)(WideArgs);
  int columns, tokens, threads, consumers;
  int stage_bytes, stages;
};
template <int kColumns, int kGroups>
constexpr Kernel kernel() {
  using Tile = WideTile<kColumns, kGroups>;
  return {wide_linear_kernel<Tile>, kColumns, Tile::kTokens, Tile::kThreads, Tile::kConsumers, Tile::kStageBytes,
          Tile::kStages};
}
constexpr std::array kTiles = {kernel<112, 2>(), kernel<128, 2>(), kernel<192, 2>(), kernel<224, 2>(),
                               kernel<112, 3>(), kernel<128, 3>(), kernel<160, 3>(), kernel<192, 3>()};

const Kernel& kernel_of(const WideChoice& choice) { return kTiles[size_t(choice.tile)]; }
int cluster_blocks(const WideChoice& c) { return c.token_tiles * c.feature_tiles * c.splits; }
int64_t weight_rows(const SkinnyLinear& p) { return p.epilogue == SkinnyEpilogue::gated ? 2 * p.features : p.features; }
int64_t token_groups(const SkinnyLinear& p, const WideChoice& c) {
  return ceil_div(p.tokens, kernel_of(c).tokens * c.token_tiles);
}
int64_t all_groups(const SkinnyLinear& p, const WideChoice& c) {
  return token_groups(p, c) * ceil_div(weight_rows(p), kernel_of(c).columns * c.feature_tiles);
}
int64_t all_steps(const SkinnyLinear& p) { return ceil_div(p.in_features, kPanelColumns); }

// Whether the code that runs here is made for this GPU.
bool made_for(Device device) {
  if (!TRIREME_WITH_WGMMA) return false;
  int major = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major == 9;
}

// That there is such a tile, that its slices are whole groups of rows, and that its ring has room for the parts.
bool well_formed(const WideChoice& c) {
  if (c.tile < 0 || c.tile >= wide_tile_count()) return false;
  if (c.token_tiles < 1 || c.feature_tiles < 1 || c.splits < 1 || c.splits > kMaxCluster) return false;
  if (c.token_tiles > kMaxCluster || c.feature_tiles > kMaxCluster || cluster_blocks(c) > kMaxCluster) return false;
  const Kernel& kernel = kernel_of(c);
  if (kernel.columns % (16 * c.token_tiles) != 0 || kernel.tokens % (8 * c.feature_tiles) != 0) return false;
  const int64_t share = 2 * ceil_div(kernel.columns / 16, c.splits);
  return c.splits == 1 || c.splits * share * kernel.consumers * 16 <= kernel.stages * kernel.stage_bytes;
}

// Above 48 KB a kernel asks for its shared memory, once per device: all kernels at once.
void allow_shared(Device device) {
  static std::atomic<uint64_t> asked{0};
  const uint64_t bit = uint64_t(1) << (device.index % 64);
  if (asked.load(std::memory_order_relaxed) & bit) return;
  for (const Kernel& kernel : kTiles) {
    const auto* function = reinterpret_cast<const void*>(kernel.function);
    CUDA_CHECK(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kWideSharedBytes));
    // Room for the next kernel's blocks as well, without a change of the split that would wait for this one's.
    CUDA_CHECK(cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
  }
  asked.fetch_or(bit, std::memory_order_relaxed);
}

struct Launch {
  cudaLaunchAttribute attributes[2]{};
  cudaLaunchConfig_t config{};
  Launch(const Kernel& kernel, int cluster, int64_t clusters) {
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim = {unsigned(cluster), 1, 1};
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(grid_size(clusters * cluster)), config.blockDim = dim3(unsigned(kernel.threads));
    config.dynamicSmemBytes = size_t(kernel.stages * kernel.stage_bytes + kPanelGroupBytes);
    config.attrs = attributes, config.numAttrs = 2;
  }
};

// Clusters that run at a time; blocks of all kernels fill a processor each. Asked once per device and size.
int64_t clusters_at_once(const WideChoice& choice, Device device) {
  static std::array<std::array<std::atomic<int>, kMaxCluster + 1>, 64> known{};
  const Kernel& kernel = kernel_of(choice);
  const int cluster = cluster_blocks(choice);
  std::atomic<int>& count = known[size_t(device.index % 64)][size_t(cluster)];
  if (const int found = count.load(std::memory_order_relaxed); found > 0) return found;
  allow_shared(device);
  Launch launch(kernel, cluster, 1);
  launch.config.numAttrs = 1;
  int found = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveClusters(&found, reinterpret_cast<const void*>(kernel.function), &launch.config));
  CHECK_GT(found, 0) << "wide_linear: clusters of" << cluster << "blocks";
  count.store(found, std::memory_order_relaxed);
  return found;
}

WideArgs make_args(const SkinnyLinear& p, const WideChoice& c) {
  WideArgs args{};
  const Kernel& kernel = kernel_of(c);
  args.weights = linear_weight_map(p, kernel.columns / c.token_tiles);
  args.x = linear_input_map(p, kernel.tokens / c.feature_tiles);
  args.out = p.out, args.bias = static_cast<const bf16*>(p.bias), args.out_stride = p.out_stride;
  args.tokens = int(p.tokens), args.features = int(p.features), args.steps = int(all_steps(p));
  args.tile_features = p.epilogue == SkinnyEpilogue::gated ? kernel.columns / 2 : kernel.columns;
  args.token_tiles = c.token_tiles, args.feature_tiles = c.feature_tiles, args.splits = c.splits;
  args.token_groups = int(token_groups(p, c)), args.groups = int(all_groups(p, c));
  args.epilogue = p.epilogue, args.gelu = p.gelu, args.out_is_float = p.out_is_float;
  const int together = p.out_is_float ? 2 : 8;
  args.aligned = (p.tokens == 1 || p.out_stride % together == 0) && is_aligned(p.out, p.out_is_float ? 8 : 16);
  args.read_once = args.token_groups == 1;
  return args;
}

// About how long it takes, in cycles of a processor: per stage the longer of its products (2,048 multiplications a
// cycle) and its copies (48 bytes a cycle), more where more blocks wait for each other; whole waves; a tile's start and
// end, and an exchange. Fitted: of the shapes of wide_bench, what keeps up with the library is among the first eight.
double estimate(const SkinnyLinear& p, const WideChoice& c, Device device) {
  constexpr double kTileCycles = 2500, kExchangeCycles = 2500, kPerBlock = 0.03;
  const Kernel& kernel = kernel_of(c);
  const double waves = double(ceil_div(all_groups(p, c), clusters_at_once(c, device)));
  const double products = double(kernel.columns) * kernel.tokens * kPanelColumns / 2048;
  const double copies =
      (double(kernel.columns) / c.token_tiles + double(kernel.tokens) / c.feature_tiles) * kPanelRowBytes / 48;
  const double step = std::max(products, copies) * (1 + kPerBlock * (cluster_blocks(c) - 1));
  const double steps = double(ceil_div(all_steps(p), c.splits));
  return waves * (steps * step + kTileCycles + (c.splits > 1 ? kExchangeCycles : 0));
}

}  // namespace

int wide_tile_count() { return int(kTiles.size()); }

bool wide_fits(const SkinnyLinear& p, const WideChoice& c, Device device) {
  if (p.norm || p.tokens < 1 || p.features < 1 || p.in_features < 1 || p.in_features % 8 != 0) return false;
  if (!is_aligned(p.x, 16) || !is_aligned(p.weight, 16) || (p.tokens > 1 && p.x_stride % 8 != 0)) return false;
  if (p.epilogue == SkinnyEpilogue::gated && p.features % 8 != 0) return false;
  if (p.features > INT32_MAX / 4 || p.in_features > INT32_MAX / 4 || p.tokens > INT32_MAX / 4) return false;
  if (!made_for(device) || !well_formed(c)) return false;
  return c.splits <= all_steps(p) && all_groups(p, c) * cluster_blocks(c) <= INT32_MAX;
}

std::vector<WideChoice> wide_candidates(const SkinnyLinear& p, size_t most, Device device) {
  std::vector<std::pair<double, WideChoice>> found;
  for (int tile = 0; tile < wide_tile_count(); ++tile)
    for (int token_tiles : {1, 2})
      for (int feature_tiles : {1, 2, 4})
        for (int splits = 1; splits <= kMaxCluster; ++splits) {
          const WideChoice choice{tile, token_tiles, feature_tiles, splits};
          if (!wide_fits(p, choice, device)) continue;
          if (ceil_div(p.tokens, kTiles[size_t(tile)].tokens) % token_tiles != 0) continue;  // a block without work
          found.emplace_back(estimate(p, choice, device), choice);
        }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<WideChoice> candidates;
  for (const auto& [cycles, choice] : found)
    if (candidates.size() < most) candidates.push_back(choice);
  return candidates;
}

void wide_linear(const SkinnyLinear& p, const WideChoice& c, const Stream& stream) {
  CHECK(wide_fits(p, c, stream.device())) << "wide_linear: tokens" << p.tokens << "tile" << c.tile;
  CHECK(!p.out_is_float || p.epilogue == SkinnyEpilogue::store) << "wide_linear: float output";
  WideArgs args = make_args(p, c);
  allow_shared(stream.device());
  // Blocks take one tile after another, but not those that split one: they have no ring left to fill ahead.
  const int64_t clusters =
      c.splits > 1 ? args.groups : std::min<int64_t>(args.groups, clusters_at_once(c, stream.device()));
  // Where blocks take several. Of two warpgroups: with three it was not measured.
  if (clusters < args.groups && kernel_of(c).tokens == 128) args.late = 1;
  Launch launch(kernel_of(c), cluster_blocks(c), clusters);
  launch.config.stream = stream.get();
  CUDA_CHECK(cudaLaunchKernelEx(&launch.config, kernel_of(c).function, args));
}

}  // namespace trireme::cuda
