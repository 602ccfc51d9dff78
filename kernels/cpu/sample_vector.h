#pragma once
// The loops over one row of a shard that the sampling ops spend their time in, compiled for several instruction
// sets and chosen once at run time; all give the same bits. n ids from `first_id` on; n may be 0.

#include <cstdint>

#include "kernels/sample.h"
#include "kernels/sample_rows.h"

namespace trireme::cpu {

struct RowScan {
  uint32_t key = 0;         // the greatest order_key; 0: n == 0
  int64_t index = -1;       // its lowest index
  bool non_finite = false;  // NaN or +inf somewhere
};
RowScan scan_row(const float* x, int64_t n);

// Sum of masses relative to `maximum` (>= every x).
uint64_t mass_sum(const float* x, int64_t n, float maximum);

// z[i] from x[i]: penalties by counts (may be null) and temperature. z may be x.
void process_row(float* z, const float* x, int64_t n, const SampleRow& row, const uint16_t* counts, float temperature);

// z[i] = logprob_of(x[i]).
void log_probabilities(float* z, const float* x, int64_t n, const SampleState& state);

// Stats of the survivors of top-k and top-p so far; for_typical: of min-p too, with the moment.
SampleStats survivor_stats(const float* z, int64_t n, int32_t first_id, const SampleState& state, bool for_typical);

// bins[digit of the key] += mass or count, for the survivors so far whose key begins with state.prefix.
void add_to_bins(uint64_t* bins, const float* z, int64_t n, int32_t first_id, const SampleState& state,
                 SampleSearch search, int pass);

// Best (score, id) among survivors; state null: among all that are not -inf. id -1: none.
struct BestDraw {
  double score = 0;
  int32_t id = -1;
};
BestDraw best_draw(const float* z, int64_t n, int32_t first_id, const SampleState* state, const NoiseKey& key);

int64_t count_greater(const float* x, int64_t n, float value);

// The best `wanted` (<= kSampleCandidates) values in order (value down, id up), -inf left out; the rest of
// entries[0, wanted) gets id -1. raw: where SampleEntry::raw is read.
void select_best(SampleEntry* entries, int wanted, const float* values, const float* raw, int64_t n, int32_t first_id);

}  // namespace trireme::cpu
