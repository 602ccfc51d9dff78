#pragma once
// How many layers each pipeline stage gets, so that the stages take equally long: the last one also has the output
// layer and sampling, which weigh as much as one to three layers, so it gets fewer. A model of decoding: a stage's time
// is the bytes it reads, at 64 sequences of 1,024 tokens (docs/scaling.md); embedding a token costs next to nothing.

#include <cstdint>
#include <vector>

#include "checkpoint/model_config.h"

namespace trireme {

struct StageCost {  // bytes of a decode step, all TP ranks together
  double layer = 0;
  double output = 0;  // output layer and sampling: the last stage's, besides its layers
};
StageCost stage_cost(const ModelConfig& config);

// By stage; what fits layer_range() of parallel/topology.h. Throws ConfigError when pp > the model's layers.
std::vector<int64_t> stage_layers(const ModelConfig& config, int pp);

// The stages' mean time / the longest one's, at most 1: what a pipeline that is never short of work makes use of.
double stage_balance(const StageCost& cost, const std::vector<int64_t>& layers);

}  // namespace trireme
