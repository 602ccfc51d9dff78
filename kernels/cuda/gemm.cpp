#include "kernels/cuda/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "kernels/cuda/common/workspace.h"

#define CUBLAS_CHECK(call)                                                \
  do {                                                                    \
    const cublasStatus_t cublas_check_status = (call);                    \
    CHECK(cublas_check_status == CUBLAS_STATUS_SUCCESS)                   \
        << #call << "->" << cublasLtGetStatusString(cublas_check_status); \
  } while (0)

namespace trireme::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t(32) << 20;
constexpr size_t kMaxPlans = 16384;  // a few shapes times every batch size; then the cache starts anew
constexpr int kMaxHeuristics = 8;

// device, tokens, out, in, x stride, out stride, float output, bias, alignments of weight, x and out.
using PlanKey = std::array<int64_t, 11>;
using Plan = std::optional<cublasLtMatmulAlgo_t>;  // empty: cuBLASLt cannot

int64_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return std::min<int64_t>(16, int64_t(address & (~address + 1)));
}

PlanKey plan_key(const Gemm& g, int device) {
  return {device,         g.tokens,          g.out_features,      g.in_features,  g.x_stride,      g.out_stride,
          g.out_is_float, g.bias != nullptr, alignment(g.weight), alignment(g.x), alignment(g.out)};
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

// The first heuristic. A tuner that times the candidates would take this function's place.
Plan choose_plan(cublasLtHandle_t handle, const Problem& problem, const PlanKey& key) {
  cublasLtMatmulPreferenceOpaque_t preference;
  CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspaceBytes));
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(key[8]));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t(key[9]));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t(key[10]));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t(key[10]));
  std::array<cublasLtMatmulHeuristicResult_t, kMaxHeuristics> results{};
  int found = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(
      handle, const_cast<cublasLtMatmulDescOpaque_t*>(&problem.operation),
      const_cast<cublasLtMatrixLayoutOpaque_t*>(&problem.weight), const_cast<cublasLtMatrixLayoutOpaque_t*>(&problem.x),
      const_cast<cublasLtMatrixLayoutOpaque_t*>(&problem.out), const_cast<cublasLtMatrixLayoutOpaque_t*>(&problem.out),
      &preference, kMaxHeuristics, results.data(), &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return std::nullopt;
  CUBLAS_CHECK(status);
  for (int i = 0; i < found; ++i)
    if (results[size_t(i)].state == CUBLAS_STATUS_SUCCESS) return results[size_t(i)].algo;
  return std::nullopt;
}

class PlanCache {
 public:
  // Made for the calling thread's current device, as every handle of a device is.
  cublasLtHandle_t handle(int device) {
    std::lock_guard lock(mutex_);
    cublasLtHandle_t& handle = handles_[device];
    if (!handle) CUBLAS_CHECK(cublasLtCreate(&handle));
    return handle;
  }

  Plan find(cublasLtHandle_t handle, const Problem& problem, const PlanKey& key) {
    std::lock_guard lock(mutex_);
    if (const auto it = plans_.find(key); it != plans_.end()) return it->second;
    if (plans_.size() >= kMaxPlans) plans_.clear();
    return plans_[key] = choose_plan(handle, problem, key);
  }

 private:
  std::mutex mutex_;
  std::map<int, cublasLtHandle_t> handles_;
  std::map<PlanKey, Plan> plans_;
};

PlanCache& plan_cache() {
  static auto* cache = new PlanCache;  // outlives every thread; the driver takes the handles back at exit
  return *cache;
}

}  // namespace

bool gemm(const Gemm& g, const Stream& stream) {
  const int device = stream.device().index;
  Problem problem;
  describe(problem, g);
  const cublasLtHandle_t handle = plan_cache().handle(device);
  const Plan plan = plan_cache().find(handle, problem, plan_key(g, device));
  if (!plan) return false;
  const float alpha = 1, beta = 0;
  CUBLAS_CHECK(cublasLtMatmul(handle, &problem.operation, &alpha, g.weight, &problem.weight, g.x, &problem.x, &beta,
                              g.out, &problem.out, g.out, &problem.out, &*plan,
                              workspace(WorkspaceUse::gemm, kWorkspaceBytes, stream), kWorkspaceBytes, stream.get()));
  return true;
}

}  // namespace trireme::cuda
