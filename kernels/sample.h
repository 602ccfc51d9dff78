#pragma once
// Sampling over vocabulary-sharded logits (docs/design.md 4). The ops here work on one shard; the rounds that
// join shards (runtime/sampling/) are all-gathers between them. On one rank the same ops run with one shard.
//
// The rule of one row, in this order:
//   raw       log-sum-exp and the top log-probabilities of the logits as the model gave them;
//   process   suppressed ids and mask to -inf, bias, repetition penalty (prompt and drawn), presence and frequency
//             penalties (drawn), divided by temperature                    -> z
//   cut       top-k, then top-p, then min-p on what is left (typical-p between), ties at a cut by lower id
//   draw      argmax over survivors of z + Gumbel noise(seed, choice, position, id); temperature 0: argmax of z.
// Masses are 64-bit fixed point relative to the row's global maximum; noise and exponentials come from
// base/sampling_rule.h, the same bits on every back end, so equal float32 logits give equal draws everywhere.

#include <cstdint>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/step.h"

namespace trireme {

inline constexpr int kMaxTopLogprobs = 20;

enum class SampleKind : int32_t { draw = 0, score = 1 };

// One row's orders; copied to the device as it is.
struct SampleRow {
  int32_t kind = 0;            // SampleKind
  int32_t slot = 0;            // whose counts and length apply
  int32_t target = -1;         // score: the id whose log-probability is asked
  int32_t choice = 0;
  uint64_t seed = 0;
  float temperature = 1;       // 0: greedy
  int32_t top_k = 0;           // 0: off
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t top_logprobs = 0;    // 0..kMaxTopLogprobs
  int32_t suppress_begin = 0;  // ids in SampleBatch::suppressed that may not be drawn
  int32_t suppress_count = 0;
  int32_t mask_row = -1;       // row of SampleBatch::masks, -1: none
  int32_t bias_begin = 0;      // entries of SampleBatch::bias_ids / bias_values
  int32_t bias_count = 0;
  int32_t reserved = 0;
};
static_assert(sizeof(SampleRow) % 8 == 0);

// One row's answer; copied to the host as it is. Log-probabilities are of the raw logits.
struct SampleAnswer {
  int32_t id = -1;             // drawn; target for score; -1 where nothing could be drawn (all -inf or non-finite)
  float logprob = 0;
  int32_t rank = 0;            // 1-based rank of `id` among the raw logits
  int32_t non_finite = 0;      // a raw logit was NaN or +inf: fail this request only
  int32_t top_count = 0;
  int32_t top_ids[kMaxTopLogprobs] = {};
  float top_logprobs[kMaxTopLogprobs] = {};
};

}  // namespace trireme
