#include "kernels/cuda/shape_tuner.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/log.h"
#include "base/progress.h"
#include "kernels/cuda/call_chain.h"
#include "kernels/cuda/linear_call.h"

#if __has_include("kernels/cuda/wide_linear.h")
#include "kernels/cuda/wide_linear.h"
#define WITH_WIDE 1
#endif

namespace trireme::cuda {

void rms_norm(TensorView out, TensorView x, TensorView weight, float eps, const Stream& stream);
void silu_mul(TensorView out, TensorView gate_up, const Stream& stream);

namespace {

inline int env_int(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value ? std::atoi(value) : otherwise;
}
const int kAlgorithms = env_int("TRIREME_TUNER_ALGORITHMS", 8);
// Up to so many tokens the kernel before a layer is measured with it: more drown it.
constexpr int64_t kFewTokens = 512;
// Every candidate is measured quickly, then the few that may be the fastest closely.
constexpr double kQuickSeconds = 200e-6, kCloseSeconds = 400e-6;  // of a chain, about
constexpr int kMostCalls = 24;                                    // of a chain
constexpr int kReplays = 5;
constexpr size_t kFinalists = 4;
constexpr double kWorthALook = 1.08;
// Of two about as fast the one without a memset or a second kernel, which cost more between other kernels than here.
constexpr double kSeveralKernels = 1.03;
constexpr double kColdBytes = 120e6;  // twice the L2 cache
// Of an H200, about: how long a chain gets depends on it, nothing else.
constexpr double kBytesPerSecond = 4.2e12, kOperationsPerSecond = 7e14;

// What a model has around a layer of this shape, computed with the layer as kernels/cuda/linear.cu would: what one kernel
// has inside and another leaves to a kernel of its own then weighs what it costs.
class Surroundings {
 public:
  Surroundings(const LinearWeight& weight, DType out, const LinearRole& role, int64_t most_tokens, const Stream& stream)
      : role_(role),
        stream_(stream),
        out_(out, {most_tokens, weight.out_features}, stream.device()),
        x_(trireme::make_linear_weight(stream.device(), DType::bf16, most_tokens, weight.in_features)),
        normed_(DType::bf16, {most_tokens, weight.in_features}, stream.device()),
        norm_(DType::f32, {weight.in_features}, stream.device()) {
    trireme::fill_linear_random(x_, 1, 1.0f, 0, 0, stream);
    const std::vector<float> ones(size_t(weight.in_features), 1.0f);
    copy_async(norm_.data(), ones.data(), ones.size() * sizeof(float), stream.device(), stream);
    stream.synchronize();
    if (role.gated) inner_ = Tensor(DType::bf16, {most_tokens, weight.out_features / 2}, stream.device());
  }

  void run(const LinearChoice& choice, int64_t tokens, TensorView weight) {
    const bool skinny = choice.kernel == LinearKernel::skinny;
    // A norm, or the sum or attention that stands before a layer: a small kernel either way.
    if (has_predecessor(tokens) && !(skinny && role_.normed))
      rms_norm(rows(normed_, tokens), rows(x_.data, tokens), norm_, kEps, stream_);
    if (choice.kernel == LinearKernel::library) return run_library(choice.algorithm, tokens, weight);
    const SkinnyLinear problem = own_problem(skinny, tokens, weight);
#ifdef WITH_WIDE
    if (choice.kernel == LinearKernel::wide)
      return wide_linear(problem, WideChoice::unpacked(choice.tile, choice.grid), stream_);
#endif
    if (skinny)
      skinny_mma(problem, {int8_t(choice.tile), SkinnyChoice::Grid(choice.grid)}, stream_);
    else
      hopper_linear(problem, {choice.tile, choice.grid}, stream_);
  }

  // Without its addition, which any algorithm can do.
  Gemm library_problem(int64_t tokens, TensorView weight) const {
    return gemm_problem(rows(out_, tokens), input(tokens), weight);
  }
  SkinnyLinear own_problem(bool with_norm, int64_t tokens, TensorView weight) const {
    LinearCall call{rows(role_.gated ? inner_ : out_, tokens), input(tokens), weight, {}};
    if (with_norm && role_.normed) call.x = rows(x_.data, tokens), call.norm = norm_, call.eps = kEps;
    if (role_.gated || role_.added) call.epilogue = role_.gated ? SkinnyEpilogue::gated : SkinnyEpilogue::add;
    return skinny_problem(call);
  }
  // Kernels of a call by the library that are not the library's.
  size_t other_kernels(int64_t tokens) const { return size_t(has_predecessor(tokens)) + size_t(role_.gated); }
  bool float_out() const { return out_.view().dtype() == DType::f32; }

 private:
  static constexpr float kEps = 1e-5f;

  static bool has_predecessor(int64_t tokens) { return tokens <= kFewTokens; }
  TensorView input(int64_t tokens) const { return rows(has_predecessor(tokens) ? normed_ : x_.data, tokens); }
  static TensorView rows(const Tensor& tensor, int64_t tokens) { return tensor.view().slice(0, 0, tokens); }
  void run_library(const GemmAlgorithm& algorithm, int64_t tokens, TensorView weight) {
    Gemm problem = library_problem(tokens, weight);
    problem.add_to_out = role_.added;
    CHECK(gemm(problem, &algorithm, stream_)) << "tune_linear: gemm";
    if (role_.gated) silu_mul(rows(inner_, tokens), rows(out_, tokens), stream_);
  }

  const LinearRole role_;
  const Stream& stream_;
  Tensor out_;
  LinearWeight x_;
  Tensor normed_, norm_, inner_;
};

// Measures one shape with the model's weights, one after another.
class ShapeTuner {
 public:
  ShapeTuner(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role, int64_t most_tokens,
             const Stream& stream)
      : weights_(weights), stream_(stream), around_(*weights.front(), out, role, most_tokens, stream) {}

  LinearChoice measure(int64_t tokens) {
    std::vector<Trial> trials;
    for (const LinearChoice& choice : candidates(tokens)) trials.push_back({choice, time(choice, tokens, false)});
    if (trials.empty()) return blank(tokens);  // plain_linear.h
    std::sort(trials.begin(), trials.end());
    size_t finalists = 0;
    while (finalists < std::min(trials.size(), kFinalists) &&
           trials[finalists].seconds <= kWorthALook * trials.front().seconds)
      ++finalists;
    if (finalists > 1)
      for (size_t i = 0; i < finalists; ++i) trials[i].seconds = time(trials[i].choice, tokens, true);
    std::sort(trials.begin(), trials.begin() + int64_t(finalists));
    return decided(trials);
  }

 private:
  struct Trial {
    LinearChoice choice;
    double seconds = 0;
    bool operator<(const Trial& other) const { return seconds < other.seconds; }
  };

  TensorView weight() {
    next_ = (next_ + 1) % weights_.size();
    return weights_[next_]->data;
  }

  LinearChoice blank(int64_t tokens) const {
    LinearChoice choice;
    choice.out_features = weights_.front()->out_features, choice.in_features = weights_.front()->in_features;
    choice.tokens = tokens, choice.float_out = around_.float_out();
    return choice;
  }

  // Every way of computing it that is worth a measurement.
  std::vector<LinearChoice> candidates(int64_t tokens) {
    LinearChoice choice = blank(tokens);
    std::vector<LinearChoice> all;
    const auto add = [&](LinearKernel kernel, int tile, int grid) {
      choice.kernel = kernel, choice.tile = tile, choice.grid = grid;
      all.push_back(choice);
    };
    if (tokens <= kMaxSkinnyTokens && choice.in_features % 8 == 0)
      for (int tile = 0; tile < skinny_tile_count(); ++tile)
        for (auto grid : {SkinnyChoice::one_per_processor, SkinnyChoice::two_per_processor, SkinnyChoice::whole_tiles})
          if (skinny_tile_fits(tile, tokens)) add(LinearKernel::skinny, tile, int(grid));
    for (const HopperChoice& way : hopper_candidates(around_.own_problem(false, tokens, weight()), stream_.device()))
      add(LinearKernel::hopper, way.tile, way.splits);
#ifdef WITH_WIDE
    if (tokens > kMaxHopperTokens && tokens <= 1024 && !std::getenv("TRIREME_TUNER_NOT_WIDE"))
      for (const WideChoice& way : wide_candidates(around_.own_problem(false, tokens, weight()), 10, stream_.device()))
        add(LinearKernel::wide, way.tile, way.packed());
#endif
    choice.has_algorithm = true;
    for (const GemmAlgorithm& algorithm :
         gemm_algorithms(around_.library_problem(tokens, weight()), kAlgorithms, stream_)) {
      choice.algorithm = algorithm;
      add(LinearKernel::library, -1, 0);
    }
    return all;
  }

  // What moving the weights and the arithmetic take at the least.
  double least_seconds(int64_t tokens) const {
    const double elements = double(weights_.front()->out_features) * double(weights_.front()->in_features);
    return std::max(2 * elements / kBytesPerSecond, 2 * elements * double(tokens) / kOperationsPerSecond) + 2e-6;
  }

  // So many that none of their weights is found in the cache.
  int cold_calls(int64_t tokens) const {
    if (tokens > kFewTokens) return 1;  // the weights are read many times each
    const double bytes = double(weights_.front()->data.view().bytes());
    return int(std::min({std::ceil(kColdBytes / bytes), double(weights_.size()), double(kMostCalls)}));
  }

  double time(const LinearChoice& choice, int64_t tokens, bool closely) {
    const auto run = [&] { around_.run(choice, tokens, weight()); };
    run();  // the first may load code
    const int enough = int(std::ceil((closely ? kCloseSeconds : kQuickSeconds) / least_seconds(tokens)));
    const int calls = std::clamp(enough, cold_calls(tokens), kMostCalls);
    CallChain chain(stream_, calls, run);
    const double seconds = chain.seconds(closely ? kReplays : 1);
    const bool more_nodes = choice.kernel == LinearKernel::library &&
                            chain.nodes() > size_t(calls) * (1 + around_.other_kernels(tokens));
    return more_nodes ? seconds * kSeveralKernels : seconds;
  }

  // The fastest, with the library's fastest algorithm for the calls that an own kernel cannot take.
  static LinearChoice decided(const std::vector<Trial>& trials) {
    LinearChoice best = trials.front().choice;
    const auto library = std::find_if(trials.begin(), trials.end(), [](const Trial& trial) {
      return trial.choice.kernel == LinearKernel::library;
    });
    const bool has_library = library != trials.end();
    if (has_library) best.has_algorithm = true, best.algorithm = library->choice.algorithm;
    log_debug("linear {} x {}, {} tokens: {} tile {} grid {} {:.1f} us; library {:.1f} us", best.out_features,
              best.in_features, best.tokens, kernel_name(best.kernel), best.tile, best.grid,
              trials.front().seconds * 1e6, has_library ? library->seconds * 1e6 : 0.0);
    return best;
  }
  static const char* kernel_name(LinearKernel kernel) {
#ifdef WITH_WIDE
    if (kernel == LinearKernel::wide) return "wide";
#endif
    return kernel == LinearKernel::library ? "library" : kernel == LinearKernel::skinny ? "skinny" : "hopper";
  }

  std::span<const LinearWeight* const> weights_;
  const Stream& stream_;
  Surroundings around_;
  size_t next_ = 0;
};

}  // namespace

std::vector<LinearChoice> measure_shape(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                                        std::span<const int64_t> token_counts, const Stream& stream) {
  ShapeTuner tuner(weights, out, role, *std::max_element(token_counts.begin(), token_counts.end()), stream);
  std::vector<LinearChoice> choices;
  for (int64_t tokens : token_counts) {
    rank_progress().tick("tune_linear");
    choices.push_back(tuner.measure(tokens));
  }
  return choices;
}

}  // namespace trireme::cuda
