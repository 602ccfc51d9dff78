#include "kernels/cuda/linear/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/linear/gemm_tiles.h"

#define CUBLAS_CHECK(call)                                                \
  do {                                                                    \
    const cublasStatus_t cublas_check_status = (call);                    \
    CHECK(cublas_check_status == CUBLAS_STATUS_SUCCESS)                   \
        << #call << "->" << cublasLtGetStatusString(cublas_check_status); \
  } while (0)

namespace trireme::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t(32) << 20;
constexpr int kHeuristics = 8;       // asked for; the library has no more than about that
constexpr size_t kTiles = 4, kTileAlgorithms = 12;  // of our own thinking, at most
constexpr size_t kMaxPlans = 16384;  // a few shapes times every batch size; then a thread's plans start anew

// device, tokens, out, in, x stride, out stride, float output, bias, addition, alignments of weight, x and out, and the
// hash of the algorithm asked for.
using PlanKey = std::array<int64_t, 13>;
using Plan = std::optional<cublasLtMatmulAlgo_t>;  // empty: cuBLASLt cannot

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const {
    uint64_t hash = 0;
    for (int64_t value : key) hash = (hash ^ uint64_t(value)) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
    return size_t(hash);
  }
};

int64_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return std::min<int64_t>(16, int64_t(address & (~address + 1)));
}

int64_t hash_of(const GemmAlgorithm* algorithm) {
  uint64_t hash = 0;
  if (algorithm)
    for (uint64_t word : *algorithm) hash = (hash + word + 1) * 0x9e3779b97f4a7c15u;
  return int64_t(hash);
}

PlanKey plan_key(const Gemm& g, const GemmAlgorithm* algorithm, int device) {
  return {device,         g.tokens,          g.out_features, g.in_features,       g.x_stride,     g.out_stride,
          g.out_is_float, g.bias != nullptr, g.add_to_out,   alignment(g.weight), alignment(g.x), alignment(g.out),
          hash_of(algorithm)};
}

// cuBLASLt is column-major: it sees out^T = weight^T' x^T with weight^T' the transpose of an [in, out] matrix. All
// four objects live on the stack; making them costs no allocation.
struct Problem {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight, x, out;
};

template <typename T>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value));
}
template <typename T>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value));
}

void describe(Problem& problem, const Gemm& g) {
  const uint64_t n = uint64_t(g.out_features), k = uint64_t(g.in_features), t = uint64_t(g.tokens);
  CUBLAS_CHECK(cublasLtMatmulDescInit(&problem.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(problem.operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (g.bias) {
    set(problem.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(problem.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  }
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&problem.weight, CUDA_R_16BF, k, n, g.in_features));
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&problem.x, CUDA_R_16BF, k, t, g.x_stride));
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&problem.out, g.out_is_float ? CUDA_R_32F : CUDA_R_16BF, n, t, g.out_stride));
}

using Heuristics = std::vector<cublasLtMatmulHeuristicResult_t>;

Heuristics heuristics(cublasLtHandle_t handle, Problem& problem, const Gemm& g) {
  cublasLtMatmulPreferenceOpaque_t preference;
  CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspaceBytes));
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(alignment(g.weight)));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t(alignment(g.x)));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t(alignment(g.out)));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t(alignment(g.out)));
  Heuristics results(static_cast<size_t>(kHeuristics));
  int found = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(handle, &problem.operation, &problem.weight, &problem.x,
                                                     &problem.out, &problem.out, &preference, kHeuristics, results.data(),
                                                     &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  CUBLAS_CHECK(status);
  results.resize(size_t(found));
  std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
  return results;
}

bool takes(cublasLtHandle_t handle, Problem& problem, const cublasLtMatmulAlgo_t& algorithm) {
  cublasLtMatmulHeuristicResult_t result{};
  const auto status = cublasLtMatmulAlgoCheck(handle, &problem.operation, &problem.weight, &problem.x, &problem.out,
                                              &problem.out, &algorithm, &result);
  return status == CUBLAS_STATUS_SUCCESS && result.state == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= kWorkspaceBytes;
}

// The algorithm asked for, where it takes this problem too (other tokens, a bias), else the first heuristic.
Plan choose_plan(cublasLtHandle_t handle, Problem& problem, const Gemm& g, const GemmAlgorithm* asked) {
  if (asked) {
    cublasLtMatmulAlgo_t algorithm;
    static_assert(sizeof algorithm == sizeof *asked);
    std::memcpy(&algorithm, asked, sizeof algorithm);
    if (takes(handle, problem, algorithm)) return algorithm;
  }
  const Heuristics results = heuristics(handle, problem, g);
  if (results.empty()) return std::nullopt;
  return results.front().algo;
}

// Made for the calling thread's current device, as every handle of a device is. Of a thread, so that nobody waits.
cublasLtHandle_t handle_of(int device) {
  static std::mutex mutex;
  static auto* handles = new std::map<int, cublasLtHandle_t>;  // the driver takes them back at exit
  static thread_local std::array<cublasLtHandle_t, 16> known{};
  const bool small = device >= 0 && size_t(device) < known.size();
  if (small && known[size_t(device)]) return known[size_t(device)];
  std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = (*handles)[device];
  if (!handle) CUBLAS_CHECK(cublasLtCreate(&handle));
  if (small) known[size_t(device)] = handle;
  return handle;
}

Plan& find_plan(cublasLtHandle_t handle, Problem& problem, const Gemm& g, const GemmAlgorithm* asked,
                      int device) {
  static thread_local std::unordered_map<PlanKey, Plan, PlanKeyHash> plans;
  const PlanKey key = plan_key(g, asked, device);
  if (const auto it = plans.find(key); it != plans.end()) return it->second;
  if (plans.size() >= kMaxPlans) plans.clear();
  return plans[key] = choose_plan(handle, problem, g, asked);
}

template <typename T>
bool set(cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute, T value) {
  return cublasLtMatmulAlgoConfigSetAttribute(&algorithm, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
}

// The library's family of kernels for Hopper chooses its stages itself. Its custom option, as its kernels' names tell:
// bit 0: the tile's features are the 64-row side, else its tokens; bit 1: tiles are dealt out along the tokens first;
// bit 2: two warpgroups share a tile.
bool is_hopper_family(const cublasLtMatmulAlgo_t& algorithm) {
  uint32_t stages = 0;
  size_t written = 0;
  return cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, &stages, sizeof stages,
                                              &written) == CUBLAS_STATUS_SUCCESS &&
         stages == CUBLASLT_MATMUL_STAGES_64xAUTO;
}

// The ways of computing a tile that won somewhere: alone, or in pairs that read their weights once.
void add_tile(Heuristics& all, cublasLtHandle_t handle, Problem& problem, cublasLtMatmulAlgo_t algorithm,
              const GemmTile& tile) {
  constexpr int kOneGroup = 192 * 128, kTwoGroups = 160 * 128;  // below: one warpgroup's registers; from: or two's
  constexpr std::pair<uint32_t, cublasLtClusterShape_t> kDealt[] = {{0, CUBLASLT_CLUSTER_SHAPE_1x1x1},
                                                                    {2, CUBLASLT_CLUSTER_SHAPE_1x2x1}};
  const int area = tile.features * tile.tokens;
  for (uint32_t groups : {0u, 4u})
    for (uint32_t side : {0u, 1u})
      for (const auto& [order, cluster] : kDealt) {
        if (groups ? area < kTwoGroups : area >= kOneGroup) continue;
        if ((side ? tile.features : tile.tokens) % 64 != 0) continue;
        cublasLtMatmulHeuristicResult_t result{};
        result.algo = algorithm;
        if (set(result.algo, CUBLASLT_ALGO_CONFIG_TILE_ID, tile.id) &&
            set(result.algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, groups + side + order) &&
            set(result.algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, uint16_t(cluster)) &&
            takes(handle, problem, result.algo))
          all.push_back(result);
      }
}

}  // namespace

bool gemm(const Gemm& g, const GemmAlgorithm* algorithm, const Stream& stream) {
  const int device = stream.device().index;
  Problem problem;
  describe(problem, g);
  const cublasLtHandle_t handle = handle_of(device);
  Plan& plan = find_plan(handle, problem, g, algorithm, device);
  if (!plan) return false;
  const float alpha = 1, beta = g.add_to_out ? 1 : 0;
  const auto launch = [&] {
    return cublasLtMatmul(handle, &problem.operation, &alpha, g.weight, &problem.weight, g.x, &problem.x, &beta, g.out,
                          &problem.out, g.out, &problem.out, &*plan,
                          workspace(WorkspaceUse::gemm, kWorkspaceBytes, stream), kWorkspaceBytes, stream.get());
  };
  if (launch() == CUBLAS_STATUS_SUCCESS) return true;
  // Checked and refused all the same, as the library may for what it has not suggested itself.
  plan = choose_plan(handle, problem, g, nullptr);
  if (!plan) return false;
  CUBLAS_CHECK(launch());
  return true;
}

std::vector<GemmAlgorithm> gemm_algorithms(const Gemm& g, bool with_tiles, const Stream& stream) {
  Problem problem;
  describe(problem, g);
  const cublasLtHandle_t handle = handle_of(stream.device().index);
  Heuristics found = heuristics(handle, problem, g);
  const auto family = std::find_if(found.begin(), found.end(), [](const auto& f) { return is_hopper_family(f.algo); });
  if (with_tiles && family != found.end()) {
    cublasLtMatmulAlgo_t base = family->algo;
    set(base, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, int32_t(1));
    set(base, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, uint32_t(CUBLASLT_REDUCTION_SCHEME_NONE));
    const size_t most = found.size() + kTileAlgorithms;
    for (const GemmTile& tile : likely_tiles(g.out_features, g.tokens, multiprocessor_count(stream.device()), kTiles))
      add_tile(found, handle, problem, base, tile);
    if (found.size() > most) found.resize(most);
  }
  std::vector<GemmAlgorithm> algorithms;
  for (const auto& result : found) {
    GemmAlgorithm bits{};
    std::memcpy(bits.data(), &result.algo, sizeof bits);
    if (std::find(algorithms.begin(), algorithms.end(), bits) == algorithms.end()) algorithms.push_back(bits);
  }
  return algorithms;
}

size_t gemm_library_version() { return cublasLtGetVersion(); }

}  // namespace trireme::cuda
