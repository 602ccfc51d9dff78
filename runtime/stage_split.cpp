#include "runtime/stage_split.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/check.h"

namespace trireme {
namespace {

constexpr double kWeightBytes = 2, kKvBytes = 2, kLogitBytes = 4;  // as on GPUs: bf16; float32 logits
constexpr double kSequences = 64, kContext = 1024;
constexpr double kLogitPasses = 3;  // written once, read twice by sampling

double layer_parameters(const ModelConfig& config) {
  const auto queries = double(config.num_heads * config.head_dim);
  const auto keys = double(config.num_kv_heads * config.head_dim);
  const double mlp_matrices = config.architecture == "GPT2LMHeadModel" ? 2 : 3;
  return double(config.hidden_size) * (2 * queries + 2 * keys + mlp_matrices * double(config.intermediate_size));
}

// The last stage has `last`; the others share the rest, an extra layer going to stages 1, 2, ... first and to 0, which
// embeds, at the end.
std::vector<int64_t> with_last(int64_t num_layers, int pp, int64_t last) {
  const int64_t others = pp - 1, base = (num_layers - last) / others, extra = (num_layers - last) % others;
  std::vector<int64_t> layers;
  for (int64_t stage = 0; stage < others; ++stage)
    layers.push_back(base + ((stage == 0 ? others - 1 : stage - 1) < extra ? 1 : 0));
  layers.push_back(last);
  return layers;
}

double longest_stage(const StageCost& cost, const std::vector<int64_t>& layers) {
  const int64_t before_last = layers.size() > 1 ? *std::max_element(layers.begin(), layers.end() - 1) : 0;
  return std::max(double(before_last) * cost.layer, double(layers.back()) * cost.layer + cost.output);
}

}  // namespace

StageCost stage_cost(const ModelConfig& config) {
  const double kv = 2 * double(config.num_kv_heads * config.head_dim) * kSequences * kContext * kKvBytes;
  const double head = double(config.vocab_size) * double(config.hidden_size) * kWeightBytes;
  const double logits = kSequences * double(config.vocab_size) * kLogitBytes * kLogitPasses;
  return {layer_parameters(config) * kWeightBytes + kv, head + logits};
}

std::vector<int64_t> stage_layers(const ModelConfig& config, int pp) {
  const int64_t layers = config.num_layers;
  if (pp > layers)
    throw ConfigError("-pp " + std::to_string(pp) + " is more stages than the model's " + std::to_string(layers) +
                      " layers: use -pp " + std::to_string(layers) + " or less");
  if (pp == 1) return {layers};
  const StageCost cost = stage_cost(config);
  std::vector<int64_t> best;
  for (int64_t last = layers / pp; last >= 1; --last) {
    std::vector<int64_t> tried = with_last(layers, pp, last);
    if (best.empty() || longest_stage(cost, tried) < longest_stage(cost, best)) best = std::move(tried);
  }
  return best;
}

double stage_balance(const StageCost& cost, const std::vector<int64_t>& layers) {
  const double total = double(std::accumulate(layers.begin(), layers.end(), int64_t(0))) * cost.layer + cost.output;
  return total / (double(layers.size()) * longest_stage(cost, layers));
}

}  // namespace trireme
