#pragma once
// Ranges that a model's figures must lie in, whichever file they come from: they size allocations and loops.

#include <cstdint>

namespace trireme::config_limits {

constexpr int64_t kMaxHiddenSize = 1 << 20;
constexpr int64_t kMaxLayers = 1 << 14;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxHeadDim = 1 << 14;
constexpr int64_t kMaxVocabSize = 1 << 24;
constexpr int64_t kMaxPositions = int64_t(1) << 31;

}  // namespace trireme::config_limits
