#pragma once
// The vector loops, compiled three times (loops_portable.cpp, loops_avx2.cpp, loops_avx512.cpp) from one source
// (*_loops.h over vector_*.h) and reached through a table. Raw pointers and strides, float32 unless said; shapes
// were checked above; nothing here starts threads.

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace trireme::cpu {

// out[t, n] = sum_k x[t, k] weight[n, k] + bias[n]
struct LinearTask {
  const float* x;  // [tokens, in_features], rows x_stride apart
  int64_t x_stride;
  int64_t tokens;
  const std::byte* panels;  // see linear_layout.h
  int64_t panel_bytes;
  DType storage;
  int64_t out_features, in_features;
  int granule;
  const float* bias;  // [out_features] or null
  void* out;          // [tokens, out_features] float32, or float64 partial sums
  int64_t out_stride;
  bool out_f64;
};

// Queries of one run of tokens against the cache of one KV head.
struct AttentionTask {
  const float* q;  // [tokens, heads, head_dim]
  int64_t q_token_stride;
  float* out;  // [tokens, heads, head_dim]
  int64_t out_token_stride;
  const float* keys;  // of this KV head in block 0; position p of block b at b * block_stride + p * head_dim
  const float* values;
  int64_t block_stride;
  const int32_t* blocks;  // block of positions [i * block_size, ...)
  int64_t block_size;
  int64_t head_dim;
  int tokens, heads;       // tokens * heads <= kMaxQueries; q and out point to the first token's first head
  int64_t first_position;  // of the first token; the others follow
  float scale, soft_cap;
  int32_t window;
};
inline constexpr int kMaxQueries = 48;
inline constexpr int kMaxHeadDim = 256;
inline constexpr int kAttentionChunk = 64;  // positions

struct Rows {  // [rows, cols]
  int64_t rows, cols;
};

struct Loops {
  // Panels [panel_begin, panel_end) of tokens [token_begin, token_end).
  void (*linear)(const LinearTask& task, int64_t panel_begin, int64_t panel_end, int64_t token_begin,
                 int64_t token_end);
  int64_t linear_panel_group;  // panels are best dealt out in multiples of this
  void (*attention)(const AttentionTask& task);
  void (*rms_norm)(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* weight, float eps,
                   Rows size);
  void (*layer_norm)(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* weight,
                     const float* bias, float eps, Rows size);
  void (*silu_mul)(float* out, int64_t out_stride, const float* gate_up, int64_t gate_up_stride, Rows size);
  void (*gelu_mul)(float* out, int64_t out_stride, const float* gate_up, int64_t gate_up_stride, Rows size);
  void (*gelu_tanh)(float* out, int64_t out_stride, const float* x, int64_t x_stride, Rows size);
  void (*add_partial)(float* hidden, int64_t hidden_stride, const double* sum, int64_t sum_stride, const float* bias,
                      Rows size);
  void (*add_row)(float* hidden, const float* addend, int64_t cols);
  // angles[i] = position * inv_freq[i] -> cosines and sines times scale, for `count` frequencies.
  void (*rotary_angles)(float* cosines, float* sines, float position, const float* inv_freq, float scale,
                        int64_t count);
  // (x[i], x[i + half]) for i in [0, count).
  void (*rotate)(float* x, const float* cosines, const float* sines, int64_t count, int64_t half);
  void (*soft_cap)(float* x, int64_t stride, float cap, Rows size);
  void (*exp)(float* out, const float* x, int64_t count);
};

const Loops& loops();  // of instruction_set()

const Loops& portable_loops();
const Loops& avx2_loops();
const Loops& avx512_loops();

}  // namespace trireme::cpu
