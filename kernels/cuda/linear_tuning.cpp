#include "kernels/linear_tuning.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <limits>

#include "base/backend_traits.h"
#include "base/cuda_check.h"
#include "base/log.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/cuda/shape_tuner.h"

namespace trireme::cuda {

namespace {

constexpr double kEnoughSeconds = 300e-6;  // of one measurement
constexpr int kLaunches = 8;               // at most, and two at least
// Of few tokens, where choices differ by a microsecond: chained as in a model, so that what overlaps counts.
constexpr double kEnoughChainSeconds = 800e-6;
constexpr int kLeastChain = 4, kMostChain = 24;
// Fused forms of the skinny kernel spare a norm, an addition or an activation, and start reading weights before the
// kernel ahead of them has ended: worth about that long.
constexpr double kFusionSeconds = 3e-6;
constexpr double kNormSeconds = 1e-6;  // of that, what the Hopper kernel lacks: it finds its input normed

class Stopwatch {
 public:
  Stopwatch() {
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;

  double seconds(const Stream& stream, int launches, const std::function<void()>& launch) {
    CUDA_CHECK(cudaEventRecord(begin_, stream.get()));
    for (int i = 0; i < launches; ++i) launch();
    CUDA_CHECK(cudaEventRecord(end_, stream.get()));
    CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return double(milliseconds) * 1e-3 / launches;
  }

 private:
  cudaEvent_t begin_, end_;
};

// Measures one shape. x and out are its own; the weights are those of the model, one after another.
class ShapeTuner {
 public:
  ShapeTuner(std::span<const LinearWeight* const> weights, DType out, int64_t most_tokens, const Stream& stream)
      : weights_(weights),
        stream_(stream),
        out_(out, {most_tokens, weights.front()->out_features}, stream.device()),
        x_(trireme::make_linear_weight(stream.device(), DType::bf16, most_tokens, weights.front()->in_features)) {
    trireme::fill_linear_random(x_, 1, 1.0f, 0, 0, stream);
  }

  LinearChoice measure(int64_t tokens) {
    LinearChoice best;
    best.out_features = weights_.front()->out_features, best.in_features = weights_.front()->in_features;
    best.tokens = tokens, best.float_out = out_.view().dtype() == DType::f32;
    double library_seconds = std::numeric_limits<double>::infinity();
    for (const GemmAlgorithm& algorithm : gemm_algorithms(problem(tokens), false, stream_)) {
      const double seconds =
          time(tokens, [&] { CHECK(gemm(problem(tokens), &algorithm, stream_)) << "tune_linear: gemm"; });
      if (seconds >= library_seconds) continue;
      library_seconds = seconds;
      best.has_algorithm = true, best.algorithm = algorithm;
    }
    double least = library_seconds + kFusionSeconds;
    measure_skinny(tokens, least, best);
    measure_hopper(tokens, least, best);
    const char* own = best.kernel == LinearKernel::skinny ? "skinny" : "hopper";
    log_debug("linear {} x {}, {} tokens: library {:.1f} us; {}", best.out_features, best.in_features, tokens,
              library_seconds * 1e6,
              best.kernel == LinearKernel::library
                  ? "taken"
                  : fmt::format("{} tile {} grid {} {:.1f} us", own, best.tile, best.grid, least * 1e6));
    return best;
  }

 private:
  TensorView weight() {
    next_ = (next_ + 1) % weights_.size();
    return weights_[next_]->data;
  }
  Gemm problem(int64_t tokens) {
    return gemm_problem(out_.view().slice(0, 0, tokens), x_.data.view().slice(0, 0, tokens), weight());
  }

  double time(int64_t tokens, const std::function<void()>& launch) {
    launch();  // the first may load code
    const double once = watch_.seconds(stream_, 1, launch);
    if (tokens <= kMaxHopperTokens) {
      const int launches = std::clamp(int(kEnoughChainSeconds / std::max(once, 1e-6)), kLeastChain, kMostChain);
      return watch_.seconds(stream_, launches, launch);
    }
    return watch_.seconds(stream_, std::clamp(int(kEnoughSeconds / std::max(once, 1e-6)), 2, kLaunches), launch);
  }

  SkinnyLinear own_problem(int64_t tokens) {
    const TensorView w = weight();
    return skinny_problem({out_.view().slice(0, 0, tokens), x_.data.view().slice(0, 0, tokens), w, {}});
  }
  // What is faster than `least` becomes that and `best`.
  void measure_skinny(int64_t tokens, double& least, LinearChoice& best) {
    if (tokens > kMaxSkinnyTokens || weights_.front()->in_features % 8 != 0) return;
    for (int tile = 0; tile < skinny_tile_count(); ++tile) {
      if (!skinny_tile_fits(tile, tokens)) continue;
      for (auto grid : {SkinnyChoice::one_per_processor, SkinnyChoice::two_per_processor, SkinnyChoice::whole_tiles}) {
        const SkinnyChoice choice{int8_t(tile), grid};
        const double seconds = time(tokens, [&] { skinny_mma(own_problem(tokens), choice, stream_); });
        if (seconds >= least) continue;
        least = seconds;
        best.kernel = LinearKernel::skinny, best.tile = tile, best.grid = int(grid);
      }
    }
  }
  void measure_hopper(int64_t tokens, double& least, LinearChoice& best) {
    for (const HopperChoice& choice : hopper_candidates(own_problem(tokens), stream_.device())) {
      const double seconds = time(tokens, [&] { hopper_linear(own_problem(tokens), choice, stream_); }) + kNormSeconds;
      if (seconds >= least) continue;
      least = seconds;
      best.kernel = LinearKernel::hopper, best.tile = choice.tile, best.grid = choice.splits;
    }
  }

  std::span<const LinearWeight* const> weights_;
  const Stream& stream_;
  Tensor out_;
  LinearWeight x_;
  Stopwatch watch_;
  size_t next_ = 0;
};

}  // namespace

int64_t tune_linear(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                    std::span<const int64_t> token_counts, const Stream& stream) {
  const LinearWeight& first = *weights.front();
  std::vector<int64_t> missing;
  for (int64_t tokens : token_counts) {
    const LinearChoice* known =
        find_linear_choice(first.out_features, first.in_features, out == DType::f32, tokens);
    if (!known || known->tokens != tokens) missing.push_back(tokens);
  }
  if (missing.empty()) return 0;
  if (std::getenv("TRIREME_TUNER_NEW")) {
    adopt_linear_choices(measure_shape(weights, out, role, missing, stream));
    return int64_t(missing.size());
  }
  ShapeTuner tuner(weights, out, *std::max_element(missing.begin(), missing.end()), stream);
  std::vector<LinearChoice> measured;
  for (int64_t tokens : missing) measured.push_back(tuner.measure(tokens));
  adopt_linear_choices(measured);
  return int64_t(missing.size());
}

}  // namespace trireme::cuda
