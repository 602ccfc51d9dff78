// One shard's work on its rows: everything that reads logits. Rows are dealt out to the threads.

#include "kernels/cpu/sample.h"

#include <cstring>

#include "kernels/cpu/sample_vector.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/sample_rows.h"

namespace trireme::cpu {
namespace {

const float* raw_row(const SampleShard& shard, int32_t r) { return shard.logits + r * shard.logits_stride; }
float* z_row(const SampleShard& shard, int32_t r) { return shard.z + int64_t(r) * shard.vocab_local; }

void add_lists(float* z, const SampleRow& row, const SampleShard& shard) {
  for (int32_t i = row.bias_begin; i < row.bias_begin + row.bias_count; ++i) {
    const int32_t local = shard.bias_ids[i] - shard.vocab_begin;
    if (local >= 0 && local < shard.vocab_local) z[local] += shard.bias_values[i];
  }
  for (int32_t i = row.suppress_begin; i < row.suppress_begin + row.suppress_count; ++i) {
    const int32_t local = shard.suppressed[i] - shard.vocab_begin;
    if (local >= 0 && local < shard.vocab_local) z[local] = -infinity();
  }
}

void apply_mask(float* z, const SampleRow& row, const SampleShard& shard) {
  const uint32_t* words = shard.masks + int64_t(row.mask_row) * shard.mask_words;
  for (int32_t i = 0; i < shard.vocab_local; ++i) {
    const uint32_t id = uint32_t(shard.vocab_begin + i);
    if (!(words[id >> 5] >> (id & 31) & 1)) z[i] = -infinity();
  }
}

// z from `source`: bias and suppressed ids, penalties, temperature, mask. z may be `source`.
void process_into(float* z, const float* source, const SampleShard& shard, const SampleRow& row, float temperature) {
  if (has_lists(row)) {
    if (z != source) std::memcpy(z, source, size_t(shard.vocab_local) * sizeof(float));
    add_lists(z, row, shard);
    source = z;
  }
  const uint16_t* counts = has_penalties(row) ? shard.counts + int64_t(row.slot) * shard.vocab_local : nullptr;
  process_row(z, source, shard.vocab_local, row, counts, temperature);
  if (row.mask_row >= 0) apply_mask(z, row, shard);
}

// The row's z: the logits themselves where nothing is to be done, else the row of scratch.
const float* process(const SampleShard& shard, int32_t r) {
  const SampleRow& row = shard.rows[r];
  const float* raw = raw_row(shard, r);
  if (is_greedy(row) && !is_processed(row)) return raw;
  process_into(z_row(shard, r), raw, shard, row, is_greedy(row) ? 1.0f : row.temperature);
  return z_row(shard, r);
}

void find_best(SampleHead& head, const SampleShard& shard, int32_t r, const RowScan& raw_scan) {
  const SampleRow& row = shard.rows[r];
  const float* z = process(shard, r);
  const RowScan scan = z == raw_row(shard, r) ? raw_scan : scan_row(z, shard.vocab_local);
  if (scan.key > kMinusInfinityKey) head.z_max = z[scan.index];
  if (has_cut(row, shard.vocab_size) || scan.key <= kMinusInfinityKey) return;
  if (is_greedy(row)) {
    head.best_id = shard.vocab_begin + int32_t(scan.index);
    head.best_score = double(head.z_max);
  } else {
    const BestDraw best = best_draw(z, shard.vocab_local, shard.vocab_begin, nullptr, noise_key(row, shard));
    head.best_id = best.id;
    head.best_score = best.score;
  }
}

SampleHead head_of(const SampleShard& shard, int32_t r) {
  const SampleRow& row = shard.rows[r];
  const float* raw = raw_row(shard, r);
  const RowScan scan = scan_row(raw, shard.vocab_local);
  SampleHead head{};
  head.raw_max = head.z_max = head.best_raw = -infinity();
  head.best_id = -1;
  head.non_finite = scan.non_finite;
  if (scan.index < 0 || scan.non_finite) return head;
  head.raw_max = raw[scan.index];
  head.raw_mass = mass_sum(raw, shard.vocab_local, head.raw_max);
  if (draws(row)) {
    find_best(head, shard, r, scan);
  } else if (is_score(row) && row.target >= shard.vocab_begin && row.target < shard.vocab_begin + shard.vocab_local) {
    head.best_id = row.target;
  }
  if (head.best_id >= 0) head.best_raw = raw[head.best_id - shard.vocab_begin];
  return head;
}

// function(r, state) for the open rows without an answer.
template <typename Function>
void for_pending_rows(const SampleShard& shard, Function&& function) {
  parallel_for(shard.num_rows, [&](int64_t r) {
    if (shard.index[r].open >= 0 && shard.states[r].pending) function(int32_t(r), shard.states[r]);
  });
}

// function(r, beam) for the beam rows whose logits are finite.
template <typename Function>
void for_beam_rows(const SampleShard& shard, Function&& function) {
  parallel_for(shard.num_rows, [&](int64_t r) {
    if (shard.index[r].beam >= 0 && !shard.answers[r].non_finite) function(int32_t(r), shard.index[r].beam);
  });
}

}  // namespace

bool sample_whole_rows(int32_t*, SampleHead*, SampleEntry*, SampleEntry*, const SampleShard&, const Stream&) {
  return false;
}

void sample_first_round(SampleHead* heads, SampleEntry* tops, SampleEntry* candidates, const SampleShard& shard,
                        const Stream& stream) {
  cpu::sample_heads(heads, shard, stream);
  if (shard.num_top > 0) cpu::sample_tops(tops, shard, stream);
  if (shard.num_candidates > 0) cpu::sample_candidates(candidates, shard, stream);
}

void sample_heads(SampleHead* heads, const SampleShard& shard, const Stream&) {
  parallel_for(shard.num_rows, [&](int64_t r) { heads[r] = head_of(shard, int32_t(r)); });
}

void sample_tops(SampleEntry* tops, const SampleShard& shard, const Stream&) {
  parallel_for(shard.num_rows, [&](int64_t r) {
    if (shard.index[r].top < 0) return;
    const float* raw = raw_row(shard, int32_t(r));
    select_best(tops + int64_t(shard.index[r].top) * kMaxTopLogprobs, kMaxTopLogprobs, raw, raw, shard.vocab_local,
                shard.vocab_begin);
  });
}

void sample_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream&) {
  parallel_for(shard.num_rows, [&](int64_t r) {
    if (shard.index[r].candidates < 0) return;
    select_best(candidates + int64_t(shard.index[r].candidates) * kSampleCandidates, kSampleCandidates,
                z_row(shard, int32_t(r)), raw_row(shard, int32_t(r)), shard.vocab_local, shard.vocab_begin);
  });
}

void sample_stats(SampleStats* stats, const SampleShard& shard, bool for_typical, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, const SampleState& state) {
    stats[shard.index[r].open] =
        survivor_stats(z_row(shard, r), shard.vocab_local, shard.vocab_begin, state, for_typical);
  });
}

void sample_histogram(uint64_t* bins, const SampleShard& shard, SampleSearch search, int pass, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, const SampleState& state) {
    if (!state.searching) return;
    uint64_t* row_bins = bins + int64_t(shard.index[r].open) * kSampleBins;
    std::memset(row_bins, 0, kSampleBins * sizeof(uint64_t));
    add_to_bins(row_bins, z_row(shard, r), shard.vocab_local, shard.vocab_begin, state, search, pass);
  });
}

void sample_draw(SampleBest* best, const SampleShard& shard, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, const SampleState& state) {
    const BestDraw found =
        best_draw(z_row(shard, r), shard.vocab_local, shard.vocab_begin, &state, noise_key(shard.rows[r], shard));
    const float raw = found.id < 0 ? 0.0f : raw_row(shard, r)[found.id - shard.vocab_begin];
    best[shard.index[r].open] = {found.score, found.id, raw};
  });
}

void sample_rank(int32_t* greater, const SampleShard& shard, const Stream&) {
  parallel_for(shard.num_rows, [&](int64_t r) {
    if (shard.index[r].rank < 0) return;
    const SampleAnswer& answer = shard.answers[r];
    greater[shard.index[r].rank] =
        answer.id < 0
            ? 0
            : int32_t(count_greater(raw_row(shard, int32_t(r)), shard.vocab_local, shard.states[r].drawn_raw));
  });
}

void sample_beam_masses(uint64_t* masses, const SampleShard& shard, const Stream&) {
  for_beam_rows(shard, [&](int32_t r, int32_t beam) {
    masses[beam] = mass_sum(raw_row(shard, r), shard.vocab_local, shard.states[r].raw_max);
  });
}

void sample_beam_values(const SampleShard& shard, Gathered masses, const Stream&) {
  for_beam_rows(shard, [&](int32_t r, int32_t beam) {
    SampleState& state = shard.states[r];
    state.log_sum = beam_log_sum(masses, shard.num_shards, beam);
    float* z = z_row(shard, r);
    log_probabilities(z, raw_row(shard, r), shard.vocab_local, state);
    if (is_processed(shard.rows[r])) process_into(z, z, shard, shard.rows[r], 1.0f);
  });
}

void sample_beam_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream&) {
  for_beam_rows(shard, [&](int32_t r, int32_t beam) {
    select_best(candidates + int64_t(beam) * kSampleCandidates, shard.rows[r].num_candidates, z_row(shard, r),
                raw_row(shard, r), shard.vocab_local, shard.vocab_begin);
  });
}

}  // namespace trireme::cpu
