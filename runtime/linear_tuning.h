#pragma once
// The start's measurement of a model's linear layers, agreed on by the cluster.

#include "parallel/cluster.h"
#include "runtime/models/model.h"

namespace trireme {

// Collective. max_tokens: of a step; max_logit_rows: of the output layer. Every rank measures the shapes that the cache
// file lacks, then all take rank 0's choice wherever rank 0 has one: where ranks hold the same shape they compute alike.
void tune_linear_layers(const Model& model, Cluster& cluster, int64_t max_tokens, int64_t max_logit_rows);

}  // namespace trireme
