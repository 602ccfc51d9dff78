#pragma once
// Sampling over vocabulary-sharded logits (docs/design.md 4). The ops here work on one shard; the rounds that
// join shards (runtime/sampling/) are all-gathers between them. On one rank the same ops run with one shard.
//
// The rule of one row, in this order:
//   raw       log-sum-exp and the top log-probabilities of the logits as the model gave them;
//   process   bias, suppressed ids and mask to -inf, repetition penalty (ids in the prompt or drawn: l > 0 ? l / p :
//             l * p; open_slots' track_counts says whether the prompt counts), frequency and presence penalties
//             (drawn ids), divided by temperature                                                      -> z
//   cut       top-k, top-p, min-p, typical-p, each on what the one before left, renormalised: the order and the
//             sets of Hugging Face's warpers. A tie at the cut of top-k or top-p keeps the lower ids, so that
//             exactly k ids, or the smallest set of mass >= top_p, remain (Hugging Face keeps all that tie with
//             the k-th); typical-p keeps all ids that tie at its border, as Hugging Face does;
//   draw      argmax over survivors of z + Gumbel noise(seed, choice, position, id); greedy: argmax of z, lower id
//             first.
// The order is that of transformers' generate(), its processors and then its warpers, with the frequency and presence
// penalties, which are vLLM's, between them (tests/runtime/sampling_golden_test.cpp).
//
// Beam rows (SampleKind::candidates) draw nothing. As in Hugging Face's beam search the processors run on the
// log-probabilities: value = process(float32(raw - raw_max - log_sum)), without temperature and cuts, and the answer
// is the best num_candidates ids by value. log_sum is that of masses relative to the row's global maximum, so that
// values are the same bits on every back end and number of shards.
//
// Masses are 64-bit fixed point relative to the row's global maximum; noise and exponentials come from
// base/sampling_rule.h, the same bits on every back end, so equal float32 logits give equal draws everywhere.

#include <cstdint>

#include "base/peer_buffers.h"
#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/step.h"

namespace trireme {

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr float kMinTemperature = 1e-5f;  // below it a row is greedy

enum class SampleKind : int32_t { draw = 0, score = 1, candidates = 2 };

// One row's orders; copied to the device as it is. Values out of range are the caller's to refuse; here top_k
// beyond the vocabulary, top_p, typical_p >= 1 and min_p <= 0 are off, and one id always survives a cut.
struct SampleRow {
  int32_t kind = 0;     // SampleKind
  int32_t slot = 0;     // whose counts and length apply
  int32_t target = -1;  // score: the id whose log-probability is asked
  int32_t choice = 0;
  uint64_t seed = 0;
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t top_logprobs = 0;    // 0..kMaxTopLogprobs
  int32_t suppress_begin = 0;  // ids in SampleBatch::suppressed that may not be drawn
  int32_t suppress_count = 0;
  int32_t mask_row = -1;   // row of SampleBatch::masks, -1: none
  int32_t bias_begin = 0;  // entries of SampleBatch::bias_ids / bias_values; ids distinct within a row
  int32_t bias_count = 0;
  int32_t want_rank = 0;        // 1: the rank of the drawn id is asked (score rows and top_logprobs > 0 always have it)
  int32_t position_offset = 0;  // the draw is of position length[slot] + this (checking drafts)
  int32_t num_candidates = 0;   // candidates: how many are asked, 1..kSampleCandidates
  int32_t reserved = 0;
};
static_assert(sizeof(SampleRow) == 96);

// One row's answer; copied to the host as it is. Log-probabilities are of the raw logits.
struct SampleAnswer {
  int32_t id = -1;  // drawn; target for score; -1: candidates, or nothing could be drawn (all -inf or non-finite)
  float logprob = 0;
  int32_t rank = 0;             // 1 + how many raw logits are greater than that of `id`; 0: not asked
  int32_t non_finite = 0;       // a raw logit was NaN or +inf: fail this request only
  int32_t candidate_count = 0;  // candidates: how many were found; fewer than asked where the others are -inf
  int32_t top_count = 0;
  int32_t top_ids[kMaxTopLogprobs] = {};
  float top_logprobs[kMaxTopLogprobs] = {};
};

// ---- what the rounds exchange. Every struct is copied between ranks as it is.

inline constexpr int kSampleCandidates = 64;      // per shard and row
inline constexpr int kMaxMergedCandidates = 512;  // of all shards, best first
inline constexpr int kMaxSampleShards = 64;
inline constexpr int kSampleBins = 2048;  // of one pass of the threshold search
inline constexpr int kSearchPasses = 3;   // 11, 11 and 10 bits of the key

struct SampleHead {   // one shard's part of one row
  uint64_t raw_mass;  // sum of masses of the raw logits relative to raw_max
  double best_score;  // of best_id; greedy: z; score: 0
  float raw_max;      // -inf where the shard is empty
  float z_max;        // of rows with a cut
  int32_t best_id;    // global; -1: none here
  float best_raw;     // its raw logit
  int32_t non_finite;
  int32_t reserved[3];
};
static_assert(sizeof(SampleHead) == 48);

struct SampleEntry {  // an id of a list, best first
  float value;        // z (cuts), the processed log-probability (beams) or the raw logit (top log-probabilities)
  int32_t id;         // global; -1: the list ended before
  float raw;          // the raw logit; beams: the raw log-probability
};

struct SampleStats {  // over one shard's survivors so far
  uint64_t mass;
  uint64_t moment;  // for typical-p: sum of floor(exp(z - z_max) * (z_max - z) * 2^45); else 0
  uint64_t count;
};

struct SampleBest {  // one shard's best survivor
  double score;
  int32_t id;  // -1: none
  float raw;
};

// Where a row's pieces lie in the rounds' buffers; -1: it has none.
struct SampleIndex {
  int32_t top = -1;         // asks for top log-probabilities
  int32_t candidates = -1;  // has a cut
  int32_t open = -1;        // has a cut that 64 candidates per shard may not prove
  int32_t rank = -1;        // asks for the rank
  int32_t beam = -1;        // asks for candidates as its answer
};

// One row's cut as known so far. The same on every rank, but for cut_id.
struct SampleState {
  uint64_t mass = 0;  // of the survivors so far, over all shards
  uint64_t count = 0;
  uint64_t need = 0;  // search: ids are kept while what lies before them is less
  uint64_t before = 0;
  double log_sum = 0;  // of the raw logits, relative to raw_max; beams: the same bits for any number of shards
  float raw_max = 0;
  float z_max = 0;
  float drawn_raw = 0;   // the raw logit of the answer's id
  uint32_t prefix = 0;   // search: the key's bits found so far
  uint32_t cut_key = 0;  // kept: key > cut_key, or key == cut_key and id <= cut_id
  int32_t cut_id = -1;
  float max_distance = 0;  // min-p: kept while z_max - z <= this
  float center = 0;        // typical-p: kept while |z_max - z - center| <= spread
  float spread = 0;
  int32_t pending = 0;    // 1: no answer yet
  int32_t searching = 0;  // 1: takes part in the search under way
};

enum class SampleSearch : int32_t { count, mass, typical };  // top-k, top-p, typical-p

// One step on one shard, on the device of the logits.
struct SampleShard {
  const SampleRow* rows = nullptr;     // [num_rows]
  const SampleIndex* index = nullptr;  // [num_rows]
  SampleState* states = nullptr;       // [num_rows]
  SampleAnswer* answers = nullptr;     // [num_rows]
  int32_t num_rows = 0, num_top = 0, num_candidates = 0, num_open = 0, num_rank = 0, num_beam = 0;
  int32_t shard = 0, num_shards = 1;  // shards hold ascending ranges of ids
  int32_t vocab_begin = 0, vocab_local = 0, vocab_size = 0;
  const float* logits = nullptr;  // [num_rows, vocab_local] raw, never written
  int64_t logits_stride = 0;
  float* z = nullptr;  // [num_rows, vocab_local] scratch; beams: the processed log-probabilities
  const int32_t* suppressed = nullptr;
  const uint32_t* masks = nullptr;  // [mask rows, mask_words]
  int32_t mask_words = 0;
  const int32_t* bias_ids = nullptr;
  const float* bias_values = nullptr;
  const int32_t* length = nullptr;   // SlotState::length
  const uint16_t* counts = nullptr;  // SlotState::counts; null: no row has a penalty
  bool only_greedy = false;  // every row draws its greatest logit, which nobody touches, and asks for nothing else
  Device device;
};

// Every shard's copy of one array, as all_gather left it: shard s's begins at data + s * shard_bytes.
struct Gathered {
  const char* data = nullptr;
  int64_t shard_bytes = 0;
};

// Where this shard is the only one a back end may do all that follows in one op: every row's answer, but for beams'
// candidates, and the ids. heads, tops and candidates (as below) are scratch then. false: nothing was done, and the
// rounds are to be taken.
bool sample_whole_rows(int32_t* ids, SampleHead* heads, SampleEntry* tops, SampleEntry* candidates,
                       const SampleShard& shard, const Stream& stream);

// sample_heads, sample_tops and sample_candidates in one op.
void sample_first_round(SampleHead* heads, SampleEntry* tops, SampleEntry* candidates, const SampleShard& shard,
                        const Stream& stream);
// First round. heads: [num_rows]; tops: [num_top, kMaxTopLogprobs]; candidates: [num_candidates, kSampleCandidates].
void sample_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream);
void sample_tops(SampleEntry* tops, const SampleShard& shard, const Stream& stream);
void sample_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream);
// Answers score rows, greedy rows, rows without a cut and rows that candidates prove whatever the logits are;
// sets the states of the others.
void sample_resolve(const SampleShard& shard, Gathered heads, Gathered tops, Gathered candidates, const Stream& stream);

// Where one shard's parts of the first round lie: heads, tops, candidates, without gaps.
struct FirstRoundLayout {
  int64_t tops = 0, candidates = 0, bytes = 0;
  explicit FirstRoundLayout(const SampleShard& shard)
      : tops(shard.num_rows * int64_t(sizeof(SampleHead))),
        candidates(tops + int64_t(shard.num_top) * kMaxTopLogprobs * int64_t(sizeof(SampleEntry))),
        bytes(candidates + int64_t(shard.num_candidates) * kSampleCandidates * int64_t(sizeof(SampleEntry))) {}
};
// Shards that write into each other's memory: sends this one's parts, waits for the others' and does what
// sample_resolve and sample_ids do, in one op. parts: of this shard; all: [num_shards, bytes], where what later rounds
// want of it is left. bytes is at most peer_gather_bytes(). ids of open rows: -1.
void sample_resolve_with_peers(int32_t* ids, char* all, const char* parts, const SampleShard& shard,
                               const PeerBuffers& peers, const Stream& stream);

// stats: [num_open], over the survivors of top-k and top-p so far (for_typical: of min-p too, with the moment).
void sample_stats(SampleStats* stats, const SampleShard& shard, bool for_typical, const Stream& stream);
// Answers the open rows that the candidates prove.
void sample_resolve_open(const SampleShard& shard, Gathered stats, Gathered candidates, const Stream& stream);

// One search: begin with the stats of the survivors so far; then per pass the histogram of this shard
// ([num_open, kSampleBins], masses or counts) and the choice of a bin, the last of which sets the cut.
void sample_search_begin(const SampleShard& shard, SampleSearch search, Gathered stats, const Stream& stream);
void sample_histogram(uint64_t* bins, const SampleShard& shard, SampleSearch search, int pass, const Stream& stream);
void sample_search_step(const SampleShard& shard, SampleSearch search, int pass, Gathered bins, const Stream& stream);

// Draws among the survivors of the open rows. best: [num_open].
void sample_draw(SampleBest* best, const SampleShard& shard, const Stream& stream);
void sample_finish(const SampleShard& shard, Gathered best, const Stream& stream);

// greater: [num_rank], how many raw logits of this shard are greater than that of the answer's id.
void sample_rank(int32_t* greater, const SampleShard& shard, const Stream& stream);
void sample_finish_rank(const SampleShard& shard, Gathered greater, const Stream& stream);

// Beam rows, after sample_resolve. masses: [num_beam], of this shard's raw logits relative to the row's global maximum.
void sample_beam_masses(uint64_t* masses, const SampleShard& shard, const Stream& stream);
// Sets the states' log_sum and writes the processed log-probabilities to z.
void sample_beam_values(const SampleShard& shard, Gathered masses, const Stream& stream);
// candidates: [num_beam, kSampleCandidates], of each row the best num_candidates of this shard.
void sample_beam_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream);
// merged: [num_beam, kSampleCandidates], of all shards; sets the answers' candidate_count.
void sample_merge_candidates(SampleEntry* merged, const SampleShard& shard, Gathered candidates, const Stream& stream);

// ids: [num_rows]; the drawn id, -1 for rows that draw nothing and where nothing was drawn.
void sample_ids(int32_t* ids, const SampleShard& shard, const Stream& stream);

}  // namespace trireme
