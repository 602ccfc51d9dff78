#include "kernels/cuda/shape_tuner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "base/progress.h"
#include "kernels/cuda/call_chain.h"
#include "kernels/cuda/linear_surroundings.h"

#if __has_include("kernels/cuda/wide_linear.h")
#include "kernels/cuda/wide_linear.h"
#define WITH_WIDE 1
#endif

namespace trireme::cuda {

namespace {

// Every candidate is measured quickly, then the few that may be the fastest closely and in turn, so that the GPU's clock
// is the same for all.
constexpr double kQuickSeconds = 120e-6, kCloseSeconds = 300e-6;  // of a chain, about
constexpr int kMostCalls = 24;                                    // of a chain
constexpr int kReplays = 5;
constexpr size_t kFinalists = 4;
constexpr double kWorthALook = 1.1;
// Of two about as fast the one without a memset or a second kernel, which cost more between other kernels than here.
constexpr double kSeveralKernels = 1.03;
constexpr double kColdBytes = 120e6;  // twice the L2 cache
constexpr int64_t kFewTokens = 512;   // more read the weights many times each
// Numbers of tokens where waves of tiles come out too long or leave processors idle by chance.
constexpr int64_t kLeastForTiles = 96, kMostForTiles = 2048;
// Of an H200, about: how long a chain gets depends on it, nothing else.
constexpr double kBytesPerSecond = 4.2e12, kOperationsPerSecond = 7e14;

// Measures one shape with the model's weights, one after another.
class ShapeTuner {
 public:
  ShapeTuner(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role, int64_t most_tokens,
             const Stream& stream)
      : weights_(weights), stream_(stream), around_(*weights.front(), out, role, most_tokens, stream) {}

  LinearChoice measure(int64_t tokens) {
    std::vector<Trial> trials;
    for (const LinearChoice& choice : candidates(tokens)) trials.push_back({choice, quickly(choice, tokens)});
    if (trials.empty()) return blank(tokens);  // plain_linear.h
    std::sort(trials.begin(), trials.end());
    const auto is_slow = [&](const Trial& trial) { return trial.seconds > kWorthALook * trials.front().seconds; };
    const auto slow = std::find_if(trials.begin(), trials.end(), is_slow);
    const std::span finalists(trials.begin(), std::min(slow, trials.begin() + int64_t(std::min(kFinalists, trials.size()))));
    if (finalists.size() > 1) closely(finalists, tokens);
    std::sort(finalists.begin(), finalists.end());
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
         gemm_algorithms(around_.library_problem(tokens, weight()),
                         tokens >= kLeastForTiles && tokens <= kMostForTiles, stream_)) {
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
    if (tokens > kFewTokens) return 1;
    const double bytes = double(weights_.front()->data.view().bytes());
    return int(std::min({std::ceil(kColdBytes / bytes), double(weights_.size()), double(kMostCalls)}));
  }

  std::unique_ptr<CallChain> chain(const LinearChoice& choice, int64_t tokens, double enough_seconds) {
    const int enough = int(std::ceil(enough_seconds / least_seconds(tokens)));
    return std::make_unique<CallChain>(stream_, std::clamp(enough, cold_calls(tokens), kMostCalls),
                                       [&] { around_.run(choice, tokens, weight()); });
  }
  // What to multiply a chain's seconds by.
  double handicap(const CallChain& chain, const LinearChoice& choice, int64_t tokens) const {
    const size_t one_kernel = 1 + around_.other_kernels(tokens);
    return choice.kernel == LinearKernel::library && chain.nodes_of_a_call() > one_kernel ? kSeveralKernels : 1;
  }

  double quickly(const LinearChoice& choice, int64_t tokens) {
    around_.run(choice, tokens, weight());  // the first may load code
    const auto once = chain(choice, tokens, kQuickSeconds);
    return once->replay() * handicap(*once, choice, tokens);
  }
  void closely(std::span<Trial> trials, int64_t tokens) {
    std::vector<std::unique_ptr<CallChain>> chains;
    for (const Trial& trial : trials) chains.push_back(chain(trial.choice, tokens, kCloseSeconds));
    std::vector<std::array<double, kReplays>> seconds(trials.size());
    for (int replay = 0; replay < kReplays; ++replay)
      for (size_t i = 0; i < trials.size(); ++i) seconds[i][size_t(replay)] = chains[i]->replay();
    for (size_t i = 0; i < trials.size(); ++i) {
      std::nth_element(seconds[i].begin(), seconds[i].begin() + kReplays / 2, seconds[i].end());
      trials[i].seconds = seconds[i][kReplays / 2] * handicap(*chains[i], trials[i].choice, tokens);
    }
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
  LinearSurroundings around_;
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
