#pragma once
// One step's orders for all ranks (StepPlan) and what came of it (StepResult): docs/design.md 4.
// A plan is flat, holds no strings, and consists of deltas against state every rank keeps in numbered slots.
// Every rank applies plans in step order:
//   1. slot orders, in order;
//   2. block orders, in order (they see the tables as step 1 left them; copies run after all earlier steps' work);
//   3. the rows run: embedding, layers, KV written through the block tables;
//   4. outputs are sampled on the last stage; draws advance the slots' device state on every rank.

#include <cstdint>
#include <vector>

namespace trireme {

using StepId = int64_t;
using SlotId = int32_t;
using BlockId = int32_t;
using TokenId = int32_t;

inline constexpr TokenId kLastDrawn = -1;   // in PlanRow: the id is on the device already

// The sampling parameters a rank needs; fixed while a slot is open.
struct SlotSampling {
  uint64_t seed = 0;
  int32_t choice = 0;                 // index among the n choices of a request
  float temperature = 1;              // 0: greedy
  int32_t top_k = 0;                  // 0: off
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  bool penalize_prompt = true;        // false: the prompt's ids are not counted
  bool needs_counts() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }
  bool operator==(const SlotSampling&) const = default;
};

enum class SlotOrderKind : uint8_t {
  open,
  fork,    // into a closed slot
  append,  // a beam's next token, chosen on rank 0: the slot's last token, as if it had been drawn
  close,
};

// What is added to logits or bans ids all the time a slot is open.
struct SlotLists {
  std::vector<TokenId> bias_ids;      // distinct
  std::vector<float> bias_values;     // -inf bans an id
  std::vector<TokenId> allowed;       // only these may be drawn; empty: all
  bool empty() const { return bias_ids.empty() && allowed.empty(); }
  bool operator==(const SlotLists&) const = default;
};

struct SlotOrder {
  SlotOrderKind kind = SlotOrderKind::close;
  SlotId slot = 0;
  SlotId source = 0;                  // fork: state and block tables are copied from this slot
  int32_t adapter = 0;                // open: 0 = none
  int32_t prompt_length = 0;          // open: the first tokens of the history that are the prompt
  SlotSampling sampling;              // open, fork
  std::vector<TokenId> history;       // open: all tokens so far, also those a prefix hit need not compute
  std::vector<TokenId> suppressed;    // open, fork: not drawn where an output says suppress (stop ids before min length)
  SlotLists lists;                    // open; a fork has its source's
  TokenId token = -1;                 // append
  bool operator==(const SlotOrder&) const = default;
};

enum class BlockOrderKind : uint8_t {
  append,        // table[index] = block, index == the table's length
  replace,       // table[index] = block, index < length (a fork's partial block)
  drop_prefix,   // entries before index are gone (a window moved on)
  copy,          // contents of source -> block, no table is touched
};

struct BlockOrder {
  BlockOrderKind kind = BlockOrderKind::append;
  uint8_t group = 0;                  // KV group
  SlotId slot = 0;
  int32_t index = 0;
  BlockId block = 0;
  BlockId source = 0;
  bool operator==(const BlockOrder&) const = default;
};

struct PlanRow {
  SlotId slot = 0;
  int32_t start = 0;                  // position of the first token (upper bound where it was drawn: the device knows)
  int32_t count = 0;
  int32_t ids_begin = kLastDrawn;     // into StepPlan::row_ids; kLastDrawn: one row of the last drawn token, count == 1
  bool operator==(const PlanRow&) const = default;
};

enum class OutputKind : uint8_t { draw, verify, score, pool, candidates };

struct PlanOutput {
  OutputKind kind = OutputKind::draw;
  SlotId slot = 0;                    // whose sampling parameters and counts apply (n > 1: not the row's slot)
  int32_t row = 0;                    // which row's hidden state is read ...
  int32_t offset = 0;                 // ... at which of its tokens
  int32_t position = 0;               // of the token to draw or score; the hidden state is at position - 1
  TokenId target = -1;                // score: the id at `position`
  uint8_t top_logprobs = 0;           // 0..20
  uint8_t num_candidates = 0;         // candidates: 1..64 of a beam
  bool suppress = false;              // the slot's suppressed ids may not be drawn here
  bool operator==(const PlanOutput&) const = default;
};

struct StepPlan {
  StepId step = 0;                    // consecutive from 0
  bool shutdown = false;              // the last plan: no rows; every rank returns
  bool sampling_follows = false;      // SamplingOrders for this step are on their way; sampling waits for them
  StepId draws_needed = -1;           // draws of steps <= this are in every rank's slot state before the rows run
  std::vector<SlotOrder> slots;
  std::vector<BlockOrder> blocks;
  std::vector<PlanRow> rows;
  std::vector<TokenId> row_ids;
  std::vector<PlanOutput> outputs;    // at most ClusterInfo::max_logit_rows
  int64_t num_tokens() const {
    int64_t total = 0;
    for (const PlanRow& row : rows) total += row.count;
    return total;
  }
  bool operator==(const StepPlan&) const = default;
};

// What sampling needs from the host, sent while the forward pass runs (masks, bias rows). Per output index.
struct SamplingOrders {
  StepId step = 0;
  std::vector<int32_t> mask_rows;     // per output: row of `masks`, -1 none; empty: none at all
  std::vector<uint32_t> masks;        // [rows, ceil(vocab / 32)], bit set = allowed
  std::vector<int32_t> bias_begin;    // per output + 1, into the two below; empty: none at all
  std::vector<TokenId> bias_ids;
  std::vector<float> bias_values;
  bool operator==(const SamplingOrders&) const = default;
};

struct TokenLogprob {
  TokenId id = -1;
  float logprob = 0;
  bool operator==(const TokenLogprob&) const = default;
};

// A next token of a beam: the processors of a beam search run on log-probabilities.
struct Candidate {
  TokenId id = -1;
  float score = 0;                    // processed log-probability
  float logprob = 0;                  // of the raw logits
  bool operator==(const Candidate&) const = default;
};

// One cache line: a thread writes a step's results and another reads them.
struct OutputResult {
  TokenLogprob token;                 // draw, score: the id with the log-probability of the raw logits
  int32_t rank = 0;                   // 1-based rank of the token among the raw logits
  bool non_finite = false;            // this row's logits were not finite: fail its request, not the batch
  std::vector<TokenLogprob> top;      // best first; as many as asked
  std::vector<Candidate> candidates;  // candidates: best first; fewer than asked where the rest is banned
};
static_assert(sizeof(OutputResult) == 64);

struct StepResult {
  StepId step = 0;
  std::vector<OutputResult> outputs;  // by output index of the plan
  double device_ms = 0;               // from the rows' start to the ids on the host, rank 0
  double cpu_ms = 0;                  // that rank 0's thread computed to run the plan
};

}  // namespace trireme
