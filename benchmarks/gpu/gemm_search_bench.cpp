// gemm_search_bench [seconds [filter [suggested]]]: how much is left in cuBLASLt for the linear layers of decoders. Per
// shape and number of tokens the fastest of the library's suggestions, of the best for 512 or 2048 tokens (what is
// between two measured numbers takes the larger one's algorithm), of the tiles that the tuner adds (gemm_tiles.h), and
// of what changing one attribute of the best after another finds (tile, cluster, stages, splits, ...; not with
// `suggested`). Each with its kernels (P: launched before its predecessor's end) and attributes.

#include <cublasLt.h>
#include <cuda.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "benchmarks/gpu/gemm_attributes.h"
#include "benchmarks/gpu/timing.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/linear.h"

#define CUBLAS_CHECK(call)                                                                    \
  do {                                                                                        \
    const cublasStatus_t cublas_check_status = (call);                                        \
    CHECK(cublas_check_status == CUBLAS_STATUS_SUCCESS) << #call << int(cublas_check_status); \
  } while (0)

namespace trireme::bench {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr size_t kWorkspaceBytes = size_t(32) << 20;
constexpr int64_t kMostTokens = 8192, kMostInputs = 14336, kWeightRows = 131072, kWeightColumns = 4096;
constexpr size_t kOutBytes = size_t(1200) << 20;
constexpr size_t kDelayBytes = size_t(96) << 20;  // some 30 us
constexpr int kSuggestions = 64;                  // the library gives eight

struct Problem {
  const char* name;
  int64_t n, k, t;
  bool float_out;
  double weight;  // of the time
  double bytes() const { return 2.0 * double(n) * double(k); }
  double flops() const { return 2.0 * double(n) * double(k) * double(t); }
};

std::vector<Problem> problems() {
  struct Shape {
    const char* name;
    int64_t n, k;
  };
  std::vector<Problem> all;
  const Shape whole[] = {{"gate_up", 28672, 4096}, {"down", 4096, 14336}, {"qkv", 6144, 4096}, {"o", 4096, 4096}};
  for (const auto& [t, weight] :
       {std::pair<int64_t, double>{256, 6}, {128, 4}, {512, 3}, {1024, 3}, {384, 3}, {320, 1}, {64, 2}})
    for (const Shape& s : whole) all.push_back({s.name, s.n, s.k, t, false, weight});
  const Shape cut[] = {{"qkv8/4", 1536, 4096},       {"o8/4", 4096, 1024},    {"gate_up8/4", 7168, 4096},
                       {"down8/4", 4096, 3584},      {"qkv70/4", 2560, 8192}, {"o70/4", 8192, 2048},
                       {"gate_up70/4", 14336, 8192}, {"down70/4", 8192, 7168}};
  for (int64_t t : {256, 128, 64, 512, 1024})
    for (const Shape& s : cut) all.push_back({s.name, s.n, s.k, t, false, 1});
  for (int64_t t : {256, 128, 64, 512}) all.push_back({"lm_head", 128256, 4096, t, true, 1.5});
  for (int64_t t : {2048, 1536, 1280, 8192}) {
    for (const Shape& s : whole) all.push_back({s.name, s.n, s.k, t, false, t == 8192 ? 2.5 : 1.5});
    for (const Shape& s : cut)
      if (t >= 2048) all.push_back({s.name, s.n, s.k, t, false, 1});
  }
  return all;
}

// out^T = weight x^T, column-major, as in kernels/cuda/linear/gemm.cpp.
struct Described {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight, x, out;
};

template <typename T>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value));
}

Described describe(const Problem& p) {
  Described d{};
  CUBLAS_CHECK(cublasLtMatmulDescInit(&d.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  CUBLAS_CHECK(
      cublasLtMatmulDescSetAttribute(&d.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
  const auto n = uint64_t(p.n), k = uint64_t(p.k), t = uint64_t(p.t);
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&d.weight, CUDA_R_16BF, k, n, p.k));
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&d.x, CUDA_R_16BF, k, t, p.k));
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&d.out, p.float_out ? CUDA_R_32F : CUDA_R_16BF, n, t, p.n));
  return d;
}

struct Trial {
  cublasLtMatmulAlgo_t algorithm{};
  double seconds = INFINITY;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Search {
 public:
  Search(double seconds, std::string filter, bool climbs)
      : seconds_(seconds), filter_(std::move(filter)), climbs_(climbs), stream_(kGpu) {
    CUBLAS_CHECK(cublasLtCreate(&handle_));
    weights_ = random(kWeightRows, kWeightColumns, 0.02f), x_ = random(kMostTokens, kMostInputs, 1.0f);
    workspace_ = device_allocate(kGpu, kWorkspaceBytes);
    out_ = device_allocate(kGpu, kOutBytes), expected_ = device_allocate(kGpu, kOutBytes);
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuGraphKernelNodeGetParams", &found, 12000, 0, &result));
    node_params_ = reinterpret_cast<decltype(node_params_)>(found);
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuFuncGetName", &found, 12030, 0, &result));
    function_name_ = reinterpret_cast<decltype(function_name_)>(found);
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuKernelGetName", &found, 12030, 0, &result));
    kernel_name_ = reinterpret_cast<decltype(kernel_name_)>(found);
  }

  void run() {
    std::vector<Problem> all;
    double sum = 0;
    for (const Problem& p : problems())
      if (label(p).find(filter_) != std::string::npos) all.push_back(p), sum += p.weight;
    const double begin = now();
    double share = 0;
    for (const Problem& p : all) {
      share += p.weight;
      search(p, begin + seconds_ * share / sum);
    }
    std::printf("%zu problems in %.1f s\n", all.size(), now() - begin);
  }

 private:
  LinearWeight random(int64_t rows, int64_t cols, float scale) {
    LinearWeight made = make_linear_weight(kGpu, DType::bf16, rows, cols);
    fill_linear_random(made, 7, scale, 0, 0, stream_);
    return made;
  }
  static std::string label(const Problem& p) {
    return std::string(p.name) + " " + std::to_string(p.n) + "x" + std::to_string(p.k) + " T=" + std::to_string(p.t);
  }

  cublasStatus_t launch(const Problem& p, const Trial& trial, void* out) {
    Described& d = described_;
    const int64_t copies = std::max<int64_t>(1, kWeightRows * kWeightColumns / (p.n * p.k));
    next_ = (next_ + 1) % copies;
    const void* w = static_cast<const char*>(weights_.data.data()) + next_ * p.n * p.k * 2;
    const float one = 1, zero = 0;
    return cublasLtMatmul(handle_, &d.operation, &one, w, &d.weight, x_.data.data(), &d.x, &zero, out, &d.out, out,
                          &d.out, &trial.algorithm, workspace_, kWorkspaceBytes, stream_.get());
  }

  std::vector<cublasLtMatmulAlgo_t> suggestions(int most) {
    Described& d = described_;
    cublasLtMatmulPreferenceOpaque_t preference;
    CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspaceBytes));
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
    int found = 0;
    if (cublasLtMatmulAlgoGetHeuristic(handle_, &d.operation, &d.weight, &d.x, &d.out, &d.out, &preference, most,
                                       results.data(), &found) != CUBLAS_STATUS_SUCCESS)
      return {};
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    for (int i = 0; i < found; ++i)
      if (results[size_t(i)].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(results[size_t(i)].algo);
    return algorithms;
  }
  bool valid(const cublasLtMatmulAlgo_t& algorithm) {
    Described& d = described_;
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle_, &d.operation, &d.weight, &d.x, &d.out, &d.out, &algorithm, &result) ==
               CUBLAS_STATUS_SUCCESS &&
           result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspaceBytes;
  }

  // A few launches behind a memset that gives the host time to queue them; infinity where the algorithm cannot.
  double quick(const Problem& p, const Trial& trial) {
    if (launch(p, trial, out_) != CUBLAS_STATUS_SUCCESS) return INFINITY;
    const int launches = p.flops() > 2e11 ? 1 : 3;
    CUDA_CHECK(cudaMemsetAsync(expected_, 0, kDelayBytes, stream_.get()));
    CUDA_CHECK(cudaEventRecord(begin_, stream_.get()));
    for (int i = 0; i < launches; ++i)
      if (launch(p, trial, out_) != CUBLAS_STATUS_SUCCESS) return INFINITY;
    CUDA_CHECK(cudaEventRecord(end_, stream_.get()));
    CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds * 1e-3 / launches;
  }
  void try_out(const Problem& p, std::vector<Trial>& trials, Trial trial) {
    trial.seconds = quick(p, trial);
    if (std::isfinite(trial.seconds)) trials.push_back(trial);
  }

  // The fastest by the graph, among the three that were quickest.
  Trial closely(const Problem& p, std::vector<Trial> trials) {
    std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.seconds < b.seconds; });
    trials.resize(std::min<size_t>(3, trials.size()));
    Trial best;
    const int calls = std::clamp(int(400e-6 / std::max(trials.front().seconds, 1e-6)), p.bytes() > 50e6 ? 1 : 3, 16);
    for (Trial& trial : trials) {
      trial.seconds = timer_.seconds(stream_, calls, [&](int) { launch(p, trial, out_); });
      if (trial.seconds < best.seconds) best = trial;
    }
    return best;
  }

  std::string kernels(const Problem& p, const Trial& trial) {
    cudaGraph_t graph;
    CUDA_CHECK(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
    launch(p, trial, out_), launch(p, trial, out_);
    CUDA_CHECK(cudaStreamEndCapture(stream_.get(), &graph));
    size_t count = 0, edges = 0;
    CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
    std::vector<cudaGraphNode_t> nodes(count);
    CUDA_CHECK(cudaGraphGetNodes(graph, nodes.data(), &count));
    std::string text;
    for (size_t i = 0; i < count / 2; ++i) text += (i ? "+" : "") + node_name(nodes[i]);
    CUDA_CHECK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges));
    std::vector<cudaGraphNode_t> from(edges), to(edges);
    std::vector<cudaGraphEdgeData> data(edges);
    if (edges) CUDA_CHECK(cudaGraphGetEdges(graph, from.data(), to.data(), data.data(), &edges));
    for (const auto& edge : data)
      if (edge.type == cudaGraphDependencyTypeProgrammatic) text += " P";
    CUDA_CHECK(cudaGraphDestroy(graph));
    return text;
  }
  std::string node_name(cudaGraphNode_t node) {
    cudaGraphNodeType type;
    CUDA_CHECK(cudaGraphNodeGetType(node, &type));
    if (type == cudaGraphNodeTypeMemset) return "memset";
    CUDA_KERNEL_NODE_PARAMS params{};
    const char* name = nullptr;
    if (type != cudaGraphNodeTypeKernel || node_params_(reinterpret_cast<CUgraphNode>(node), &params) != CUDA_SUCCESS)
      return "?";
    if (params.kern)
      kernel_name_(&name, params.kern);
    else
      function_name_(&name, params.func);
    std::string text = name ? name : "?";
    if (const size_t at = text.find("nvjet_sm90_"); at != std::string::npos) return text.substr(at + 11);
    return text.find("splitKreduce") != std::string::npos ? "reduce" : text.substr(0, 60);
  }

  // How far the result is from that of the library's favourite, relative to the largest value.
  double distance(const Problem& p, const Trial& reference, const Trial& trial) {
    next_ = 0, launch(p, reference, expected_), next_ = 0, launch(p, trial, out_);
    const size_t count = size_t(std::min<int64_t>(p.n * p.t, 1 << 16));
    const size_t bytes = count * (p.float_out ? 4 : 2), offset = size_t(p.n * p.t) * (p.float_out ? 4 : 2) - bytes;
    std::vector<char> a(bytes), b(bytes);
    stream_.synchronize();
    CUDA_CHECK(cudaMemcpy(a.data(), static_cast<char*>(expected_) + offset, bytes, cudaMemcpyDefault));
    CUDA_CHECK(cudaMemcpy(b.data(), static_cast<char*>(out_) + offset, bytes, cudaMemcpyDefault));
    double largest = 0, difference = 0;
    for (size_t i = 0; i < count; ++i) {
      float values[2] = {};
      for (int side = 0; side < 2; ++side) {
        const char* from = (side ? b : a).data();
        if (p.float_out) {
          std::memcpy(&values[side], from + 4 * i, 4);
        } else {
          uint16_t half;
          std::memcpy(&half, from + 2 * i, 2);
          const uint32_t bits = uint32_t(half) << 16;
          std::memcpy(&values[side], &bits, 4);
        }
      }
      largest = std::max(largest, std::abs(double(values[0])));
      difference = std::max(difference, std::abs(double(values[0]) - double(values[1])));
    }
    return difference / largest;
  }

  void show(const Problem& p, const std::string& what, const Trial& best, const Trial& reference) {
    std::printf(" | %s %.1f %s %s", what.c_str(), best.seconds * 1e6, kernels(p, best).c_str(),
                attributes(best.algorithm).c_str());
    if (const double off = distance(p, reference, best); !(off < 0.01)) std::printf(" WRONG %.3f", off);
    std::fflush(stdout);
  }

  // Changes one attribute of the three fastest after another, until nothing is gained or the time is up.
  int climb(const Problem& p, std::vector<Trial>& trials, double until) {
    std::set<std::string> seen;
    const auto key = [](const Trial& trial) {
      return std::string(reinterpret_cast<const char*>(&trial.algorithm), sizeof trial.algorithm);
    };
    for (const Trial& trial : trials) seen.insert(key(trial));
    int checked = 0;
    for (double before = INFINITY; now() < until;) {
      std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.seconds < b.seconds; });
      if (trials.front().seconds >= before) break;
      before = trials.front().seconds;
      const std::vector<Trial> parents(trials.begin(), trials.begin() + std::min<int64_t>(3, int64_t(trials.size())));
      for (const Trial& parent : parents)
        for (int attribute : {kTile, kCluster, kCustom, kSplit, kStages, kSwizzle, kInner})
          for (uint32_t value : values_of(parent.algorithm, attribute)) {
            if (now() >= until) return checked;
            Trial child = parent;
            if (!set_attribute(child.algorithm, attribute, value)) continue;
            if (attribute == kSplit)
              set_attribute(child.algorithm, kReduce, value > 1 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : 0);
            ++checked;
            if (!seen.insert(key(child)).second || !valid(child.algorithm)) continue;
            try_out(p, trials, child);
          }
    }
    return checked;
  }

  // Those that the tuner adds to the suggestions, each held against the library's favourite.
  std::vector<Trial> tiles(const Problem& p, const Trial& reference, size_t suggested) {
    std::vector<Trial> trials;
    cuda::Gemm g;
    g.out = out_, g.x = x_.data.data(), g.weight = weights_.data.data(), g.out_is_float = p.float_out;
    g.tokens = p.t, g.out_features = g.out_stride = p.n, g.in_features = g.x_stride = p.k;
    const std::vector<cuda::GemmAlgorithm> all = cuda::gemm_algorithms(g, true, stream_);
    for (size_t i = std::min(suggested, all.size()); i < all.size(); ++i) {
      Trial trial;
      std::memcpy(&trial.algorithm, all[i].data(), sizeof trial.algorithm);
      const size_t before = trials.size();
      try_out(p, trials, trial);
      if (trials.size() == before) std::printf(" REFUSED %s", attributes(trial.algorithm).c_str());
      if (trials.size() > before && !(distance(p, reference, trial) < 0.01))
        std::printf(" WRONG %s", attributes(trial.algorithm).c_str());
    }
    return trials;
  }

  void search(const Problem& p, double until) {
    const double begin = now();
    described_ = describe(p);
    std::printf("%s floor %.1f", label(p).c_str(), std::max(p.bytes() / 4.67e12, p.flops() / 7.9e14) * 1e6);
    std::vector<Trial> trials;
    for (const auto& algorithm : suggestions(kSuggestions)) try_out(p, trials, {algorithm});
    if (trials.empty()) return void(std::printf(" nothing\n"));
    const Trial reference = trials.front(), suggested = closely(p, trials);
    show(p, "suggested" + std::to_string(trials.size()), suggested, reference);
    const auto known = best_.find({p.n, p.k, p.t <= 512 ? 512 : 2048});
    if (known != best_.end() && p.t > 256 && p.t != std::get<2>(known->first) && std::isfinite(quick(p, known->second)))
      show(p, "as" + std::to_string(std::get<2>(known->first)), closely(p, {known->second}), reference);
    best_[{p.n, p.k, p.t}] = suggested;
    const std::vector<Trial> added = tiles(p, reference, trials.size());
    if (!added.empty()) show(p, "tiles" + std::to_string(added.size()), closely(p, added), reference);
    trials.insert(trials.end(), added.begin(), added.end());
    const size_t before = trials.size();
    const int checked = climbs_ ? climb(p, trials, until) : 0;
    if (trials.size() > before)
      show(p, "climb" + std::to_string(trials.size() - before) + "/" + std::to_string(checked), closely(p, trials),
           reference);
    std::printf(" (%.2f s)\n", now() - begin);
  }

  double seconds_;
  std::string filter_;
  bool climbs_;
  Stream stream_;
  Timer timer_;
  cublasLtHandle_t handle_ = nullptr;
  LinearWeight weights_, x_;
  void *workspace_ = nullptr, *out_ = nullptr, *expected_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  Described described_{};
  int64_t next_ = 0;
  std::map<std::tuple<int64_t, int64_t, int64_t>, Trial> best_;  // by shape and tokens
  CUresult (*node_params_)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS*) = nullptr;
  CUresult (*function_name_)(const char**, CUfunction) = nullptr;
  CUresult (*kernel_name_)(const char**, CUkernel) = nullptr;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("gemm_search_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Search(argc > 1 ? std::atof(argv[1]) : 60, argc > 2 ? argv[2] : "", argc <= 3).run();
}
