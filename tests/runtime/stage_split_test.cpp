#include "runtime/stage_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/topology.h"

namespace trireme {
namespace {

ModelConfig config_of(const std::string& name) {
  const std::string path = std::string(TRIREME_SOURCE_DIR) + "/configs/models/" + name + ".json";
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return parse_model_config(text.str(), path);
}

using Layers = std::vector<int64_t>;

TEST(StageSplit, TheStageWithTheOutputLayerGetsFewerLayers) {
  const ModelConfig small = config_of("llama-3.1-8b"), large = config_of("llama-3.1-70b");
  EXPECT_EQ(stage_layers(small, 1), (Layers{32}));
  EXPECT_EQ(stage_layers(small, 2), (Layers{17, 15}));
  EXPECT_EQ(stage_layers(small, 4), (Layers{8, 9, 8, 7}));
  EXPECT_EQ(stage_layers(large, 2), (Layers{41, 39}));
}

// 8B: a layer is 436 MB of weights and 268 MB of keys and values, the output layer 1,051 MB and 98 MB of logits.
TEST(StageSplit, CostsAreTheBytesOfADecodeStep) {
  const StageCost cost = stage_cost(config_of("llama-3.1-8b"));
  EXPECT_NEAR(cost.layer, 436.2e6 + 268.4e6, 1e6);
  EXPECT_NEAR(cost.output, 1050.7e6 + 98.5e6, 1e6);
  EXPECT_NEAR(stage_balance(cost, {16, 16}), (32 + 1.631) / (2 * 17.631), 1e-3);
  EXPECT_NEAR(stage_balance(cost, {17, 15}), (32 + 1.631) / (2 * 17.0), 1e-3);
}

TEST(StageSplit, AnyModelAndDepthIsCoveredAndNoWorseThanAnEvenSplit) {
  for (const char* name : {"llama-3.1-8b", "llama-3.1-70b", "qwen3-0.6b", "gemma-3-1b", "gpt2-124m", "smollm2-135m"}) {
    const ModelConfig config = config_of(name);
    const StageCost cost = stage_cost(config);
    for (int pp = 1; pp <= 8; ++pp) {
      const Layers layers = stage_layers(config, pp);
      SCOPED_TRACE(std::string(name) + " pp " + std::to_string(pp));
      ASSERT_EQ(layers.size(), size_t(pp));
      EXPECT_EQ(std::accumulate(layers.begin(), layers.end(), int64_t(0)), config.num_layers);
      EXPECT_GE(*std::min_element(layers.begin(), layers.end()), 1);
      Layers even;
      for (int stage = 0; stage < pp; ++stage)
        even.push_back(Topology(pp, 1, pp, 0).layer_range(config.num_layers, stage).size());
      EXPECT_GE(stage_balance(cost, layers), stage_balance(cost, even));
    }
  }
}

TEST(StageSplit, RefusesMoreStagesThanLayers) {
  ModelConfig config = config_of("gpt2-124m");
  EXPECT_EQ(stage_layers(config, 12), Layers(12, 1));
  EXPECT_THROW(stage_layers(config, 13), ConfigError);
}

}  // namespace
}  // namespace trireme
