#pragma once
// Linear layers of up to kMaxSkinnyTokens tokens on the tensor cores, made to keep memory busy: weights stream through
// deep per-warp pipelines whose first stages are on their way before the previous kernel has ended.

#include <cstdint>

#include "base/stream.h"

namespace trireme::cuda {

inline constexpr int64_t kMaxSkinnyTokens = 32;

enum class SkinnyEpilogue : uint8_t {
  store,  // out = sum
  add,    // out += sum, rounded once
  gated,  // out = activation(gate) * up: weight rows [0, features) are gates, [features, 2 features) ups
};

// sum[t, n] = sum_k x'[t, k] weight[n, k] (+ bias[n]), float32.   x' = x, or x * norm / rms(x) with a norm.
struct SkinnyLinear {
  void* out = nullptr;
  const void* x = nullptr;       // bf16 [tokens, in_features], rows 16-byte aligned
  const void* weight = nullptr;  // bf16, contiguous, 16-byte aligned; in_features % 8 == 0
  const void* bias = nullptr;    // bf16 or null; of gates, then ups
  const float* norm = nullptr;   // [in_features], 16-byte aligned, or null
  float eps = 0;
  SkinnyEpilogue epilogue = SkinnyEpilogue::store;
  bool gelu = false;          // of the gated form: gelu_tanh, else silu
  bool out_is_float = false;  // else bf16; float only with `store`
  int64_t tokens = 0, features = 0, in_features = 0;
  int64_t out_stride = 0, x_stride = 0;  // elements between rows
};

// How it is computed: a row of the table of tile shapes, and how many blocks share the work.
struct SkinnyChoice {
  // whole_tiles: as many blocks as can have equally many tiles each, so that no tile is shared.
  enum Grid : int8_t { automatic, one_per_processor, two_per_processor, whole_tiles };
  int8_t tile = -1;  // -1: by the shape
  Grid grid = automatic;
  bool operator==(const SkinnyChoice&) const = default;
};

int skinny_tile_count();
// Whether a tile shape is made for that many tokens.
bool skinny_tile_fits(int tile, int64_t tokens);

// The same call gives the same bits: blocks that share a sum add their parts in the order of k.
void skinny_mma(const SkinnyLinear& problem, SkinnyChoice choice, const Stream& stream);

}  // namespace trireme::cuda
