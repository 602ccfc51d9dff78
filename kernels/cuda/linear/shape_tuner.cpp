#include "kernels/cuda/linear/shape_tuner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <set>
#include <tuple>

#include "base/log.h"
#include "base/progress.h"
#include "kernels/cuda/linear/call_chain.h"
#include "kernels/cuda/linear/surroundings.h"

namespace trireme::cuda {
namespace {

// Every candidate is measured once, then the few that may be the fastest again and in turn, so that the GPU's clock is
// the same for all.
constexpr double kChainSeconds = 150e-6;  // about
constexpr int kMostCalls = 24;            // of a chain
constexpr int kReplays = 5, kFewReplays = 3;
constexpr size_t kFinalists = 4;
constexpr double kWorthALook = 1.1;
// So much slower than the best, a way of an own kernel is not tried again for a few more tokens.
constexpr double kHopeless = 1.3;
// Where an own kernel wins by far the library's algorithm is for the calls that it cannot take: no need to be choosy.
constexpr int64_t kFewestForLibrary = 24;
constexpr size_t kUnchosen = 4;
// Of two about as fast the one without a memset or a second kernel, which cost more between other kernels than here.
constexpr double kSeveralKernels = 1.03;
constexpr double kColdBytes = 120e6;  // twice the L2 cache
constexpr int64_t kFewTokens = 512;   // more read the weights many times each
// Numbers of tokens where waves of tiles come out too long or leave processors idle by chance.
constexpr int64_t kLeastForTiles = 96, kMostForTiles = 2048;
// Of the kernel for more tokens than few; beyond, the library's waves are full.
constexpr size_t kWideWays = 8;
constexpr int64_t kMostForWide = 1024;
// Of an H200, about: how long a chain gets depends on it, nothing else.
constexpr double kBytesPerSecond = 4.2e12, kOperationsPerSecond = 7e14;

// Measures one shape with the model's weights, one after another.
class ShapeTuner {
 public:
  ShapeTuner(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role, int64_t most_tokens,
             const Stream& stream)
      : weights_(weights), stream_(stream), around_(*weights.front(), out, role, most_tokens, stream) {}

  LinearChoice measure(int64_t tokens) {
    forget_hopeless(tokens);
    std::vector<Trial> trials;
    for (const LinearChoice& choice : candidates(tokens)) trials.push_back(first_trial(choice, tokens));
    if (trials.empty()) return blank(tokens);  // plain_linear.h
    std::sort(trials.begin(), trials.end());
    note_hopeless(trials);
    const auto is_slow = [&](const Trial& trial) { return trial.seconds > kWorthALook * trials.front().seconds; };
    const size_t close = size_t(std::find_if(trials.begin(), trials.end(), is_slow) - trials.begin());
    const std::span finalists = std::span(trials).first(std::min(close, kFinalists));
    if (finalists.size() > 1) try_again(finalists, tokens <= kMostForTiles ? kReplays : kFewReplays);
    std::sort(finalists.begin(), finalists.end());
    return decided(trials);
  }

 private:
  using Way = std::tuple<LinearKernel, int, int>;  // of an own kernel
  static Way way_of(const LinearChoice& choice) { return {choice.kernel, choice.tile, choice.grid}; }

  struct Trial {
    LinearChoice choice;
    std::unique_ptr<CallChain> chain;
    double handicap = 1;  // what to multiply the chain's seconds by
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
      if (!hopeless_.contains(way_of(choice))) all.push_back(choice);
    };
    if (tokens <= kMaxSkinnyTokens && choice.in_features % 8 == 0)
      for (int tile = 0; tile < skinny_tile_count(); ++tile)
        for (auto grid : {SkinnyChoice::one_per_processor, SkinnyChoice::two_per_processor, SkinnyChoice::whole_tiles})
          if (skinny_tile_fits(tile, tokens)) add(LinearKernel::skinny, tile, int(grid));
    for (const HopperChoice& way : hopper_candidates(around_.own_problem(false, tokens, weight()), stream_.device()))
      add(LinearKernel::hopper, way.tile, way.splits);
    if (tokens > kMaxHopperTokens && tokens <= kMostForWide)
      for (const WideChoice& way :
           wide_candidates(around_.own_problem(false, tokens, weight()), kWideWays, stream_.device()))
        add(LinearKernel::wide, way.tile, way.packed());
    const bool choosy = all.empty() || tokens >= kFewestForLibrary;
    choice.has_algorithm = true;
    std::vector<GemmAlgorithm> algorithms = gemm_algorithms(
        around_.library_problem(tokens, weight()), tokens >= kLeastForTiles && tokens <= kMostForTiles, stream_);
    if (!choosy && algorithms.size() > kUnchosen) algorithms.resize(kUnchosen);
    for (const GemmAlgorithm& algorithm : algorithms) {
      choice.algorithm = algorithm;
      add(LinearKernel::library, -1, 0);
    }
    return all;
  }

  // The kernels' tiles are for up to 8, 16, 32, ... tokens: beyond, all is new.
  void forget_hopeless(int64_t tokens) {
    const auto regime = std::max<uint64_t>(8, std::bit_ceil(uint64_t(tokens)));
    if (regime != regime_) hopeless_.clear();
    regime_ = regime;
  }
  void note_hopeless(const std::vector<Trial>& trials) {
    for (const Trial& trial : trials)
      if (trial.choice.kernel != LinearKernel::library && trial.seconds > kHopeless * trials.front().seconds)
        hopeless_.insert(way_of(trial.choice));
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

  Trial first_trial(const LinearChoice& choice, int64_t tokens) {
    const auto run = [&] { around_.run(choice, tokens, weight()); };
    run();  // the first may load code
    const int enough = int(std::ceil(kChainSeconds / least_seconds(tokens)));
    Trial trial{choice, nullptr};
    trial.chain = std::make_unique<CallChain>(stream_, std::clamp(enough, cold_calls(tokens), kMostCalls), run);
    if (choice.kernel == LinearKernel::library && trial.chain->nodes_of_a_call() > 1 + around_.other_kernels(tokens))
      trial.handicap = kSeveralKernels;
    trial.seconds = trial.chain->replay() * trial.handicap;
    return trial;
  }

  // The median of some more replays of each.
  static void try_again(std::span<Trial> trials, int replays) {
    std::vector<std::vector<double>> seconds(trials.size());
    for (int replay = 0; replay < replays; ++replay)
      for (size_t i = 0; i < trials.size(); ++i) seconds[i].push_back(trials[i].chain->replay());
    for (size_t i = 0; i < trials.size(); ++i) {
      const auto middle = seconds[i].begin() + replays / 2;
      std::nth_element(seconds[i].begin(), middle, seconds[i].end());
      trials[i].seconds = *middle * trials[i].handicap;
    }
  }

  // The fastest, with the library's fastest algorithm for the calls that an own kernel cannot take.
  static LinearChoice decided(const std::vector<Trial>& trials) {
    LinearChoice best = trials.front().choice;
    const auto library = std::find_if(trials.begin(), trials.end(),
                                      [](const Trial& trial) { return trial.choice.kernel == LinearKernel::library; });
    const bool has_library = library != trials.end();
    if (has_library) best.has_algorithm = true, best.algorithm = library->choice.algorithm;
    log_debug("linear {} x {}, {} tokens: {} tile {} grid {} {:.1f} us; library {:.1f} us", best.out_features,
              best.in_features, best.tokens, kernel_name(best.kernel), best.tile, best.grid,
              trials.front().seconds * 1e6, has_library ? library->seconds * 1e6 : 0.0);
    return best;
  }
  static const char* kernel_name(LinearKernel kernel) {
    switch (kernel) {
      case LinearKernel::library: return "library";
      case LinearKernel::skinny: return "skinny";
      case LinearKernel::hopper: return "hopper";
      case LinearKernel::wide: return "wide";
    }
    return "";
  }

  std::span<const LinearWeight* const> weights_;
  const Stream& stream_;
  LinearSurroundings around_;
  size_t next_ = 0;
  std::set<Way> hopeless_;
  uint64_t regime_ = 0;
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
