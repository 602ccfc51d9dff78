#pragma once
// What the two back ends and the host decide alike about a row of sampling orders. Host and device code.

#include "base/sampling_rule.h"
#include "kernels/sample.h"

namespace trireme {

TRIREME_HD bool is_score(const SampleRow& row) { return row.kind == int32_t(SampleKind::score); }
TRIREME_HD bool is_beam(const SampleRow& row) { return row.kind == int32_t(SampleKind::candidates); }
TRIREME_HD bool draws(const SampleRow& row) { return row.kind == int32_t(SampleKind::draw); }
TRIREME_HD bool is_greedy(const SampleRow& row) { return !(row.temperature >= kMinTemperature); }

TRIREME_HD bool has_top_k(const SampleRow& row, int32_t vocab_size) { return row.top_k > 0 && row.top_k < vocab_size; }
TRIREME_HD bool has_top_p(const SampleRow& row) { return row.top_p < 1.0f; }
TRIREME_HD bool has_min_p(const SampleRow& row) { return row.min_p > 0.0f; }
TRIREME_HD bool has_typical_p(const SampleRow& row) { return row.typical_p < 1.0f; }

TRIREME_HD bool has_cut(const SampleRow& row, int32_t vocab_size) {
  return draws(row) && !is_greedy(row) &&
         (has_top_k(row, vocab_size) || has_top_p(row) || has_min_p(row) || has_typical_p(row));
}
// A cut that a few candidates may not prove.
TRIREME_HD bool is_open(const SampleRow& row, int32_t vocab_size) {
  return has_cut(row, vocab_size) && !(has_top_k(row, vocab_size) && row.top_k <= kSampleCandidates);
}

TRIREME_HD bool has_penalties(const SampleRow& row) {
  return row.repetition_penalty != 1.0f || row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f;
}
TRIREME_HD bool has_lists(const SampleRow& row) { return row.suppress_count > 0 || row.bias_count > 0; }
TRIREME_HD bool is_processed(const SampleRow& row) { return has_lists(row) || row.mask_row >= 0 || has_penalties(row); }

// A greedy id whose logits nobody touched has rank 1 without being counted.
TRIREME_HD bool has_rank(const SampleRow& row) {
  return is_score(row) || (draws(row) && (row.top_logprobs > 0 || row.want_rank != 0));
}
TRIREME_HD bool must_count_rank(const SampleRow& row) {
  return has_rank(row) && (is_score(row) || !is_greedy(row) || is_processed(row));
}

TRIREME_HD bool takes_part(const SampleRow& row, SampleSearch search, int32_t vocab_size) {
  return search == SampleSearch::count  ? has_top_k(row, vocab_size)
         : search == SampleSearch::mass ? has_top_p(row)
                                        : has_typical_p(row);
}

TRIREME_HD NoiseKey noise_key(const SampleRow& row, const SampleShard& shard) {
  return {row.seed, uint32_t(row.choice), uint32_t(shard.length[row.slot] + row.position_offset)};
}

// z of one id from its logit (bias and suppressed ids are in it already). count: the slot's counts entry.
TRIREME_HD float processed_logit(float logit, const SampleRow& row, bool allowed, uint16_t count) {
  const bool seen = count != 0;
  const int32_t drawn = count & 0x7fff;
  const float factor = logit > 0.0f ? quotient(logit, row.repetition_penalty) : product(logit, row.repetition_penalty);
  float value = seen ? factor : logit;
  value = fused(-row.frequency_penalty, float(drawn), value);
  value = value - (drawn > 0 ? row.presence_penalty : 0.0f);
  return allowed ? value : -infinity();
}

// Division by temperature; a finite logit stays below +inf.
TRIREME_HD float tempered(float logit, float temperature) {
  const float z = quotient(logit, temperature);
  const float largest = bits_float(0x7f7fffffu);
  return z < largest ? z : largest;
}

TRIREME_HD bool survives_value(const SampleState& state, uint32_t key, int32_t id) {
  return key > state.cut_key || (key == state.cut_key && id <= state.cut_id);
}

TRIREME_HD float absolute(float x) { return bits_float(float_bits(x) & 0x7fffffffu); }
TRIREME_HD float typical_shift(const SampleState& state, float distance) { return absolute(distance - state.center); }

TRIREME_HD bool survives(const SampleState& state, float z, int32_t id) {
  const float distance = state.z_max - z;
  return survives_value(state, order_key(z), id) && distance <= state.max_distance &&
         typical_shift(state, distance) <= state.spread;
}

TRIREME_HD uint64_t moment_mass(float distance) {  // distance is finite
  return fixed_mass(product(rule_exp(-distance), distance));
}

// Keys descend as ids get worse: by value, or by distance from the entropy.
TRIREME_HD uint32_t search_key(const SampleState& state, SampleSearch search, float z) {
  return search == SampleSearch::typical ? ~float_bits(typical_shift(state, state.z_max - z)) : order_key(z);
}

struct SearchDigit {  // the bits of the key that one pass looks at
  int shift;
  uint32_t mask;
  int above;  // shift of the bits found by earlier passes; 32: none
};
TRIREME_HD SearchDigit search_digit(int pass) {
  return pass == 0 ? SearchDigit{21, 2047, 32} : pass == 1 ? SearchDigit{10, 2047, 21} : SearchDigit{0, 1023, 10};
}
TRIREME_HD bool in_prefix(uint32_t key, const SearchDigit& digit, uint32_t prefix) {
  return digit.above == 32 || (key >> digit.above) == prefix;
}

// Shard s's copy of a gathered array, from element `first` on.
template <typename T>
TRIREME_HD const T* gathered_at(const Gathered& gathered, int32_t s, int64_t first) {
  return reinterpret_cast<const T*>(gathered.data + s * gathered.shard_bytes) + first;
}

// Of the row with the open-th searched cut, over all shards.
TRIREME_HD SampleStats sum_stats(const SampleShard& shard, Gathered stats, int32_t open) {
  SampleStats sum{0, 0, 0};
  for (int32_t s = 0; s < shard.num_shards; ++s) {
    const SampleStats& part = *gathered_at<SampleStats>(stats, s, open);
    sum.mass += part.mass;
    sum.moment += part.moment;
    sum.count += part.count;
  }
  return sum;
}

// Everything survives; the answer is open.
TRIREME_HD void open_state(SampleState& state, const SampleRow& row, float z_max) {
  state.z_max = z_max;
  state.cut_key = kMinusInfinityKey;
  state.cut_id = -1;
  state.max_distance = infinity();
  if (has_min_p(row)) state.max_distance = row.min_p < 1.0f ? -rule_log(row.min_p > 1e-37f ? row.min_p : 1e-37f) : 0.0f;
  state.center = 0;
  state.spread = infinity();
  state.pending = 1;
  state.searching = 0;
}

TRIREME_HD float typical_center(uint64_t moment, uint64_t mass) { return float(double(moment) / double(mass)); }

// What each of the ids that tie at the key found weighs.
TRIREME_HD uint64_t tie_unit(const SampleState& state, SampleSearch search) {
  const uint64_t mass = search == SampleSearch::count ? 1 : mass_below(state.z_max - key_float(state.prefix));
  return mass > 0 ? mass : 1;
}

// How many of the ids that tie at the last bin's key are kept over all shards.
TRIREME_HD uint64_t kept_ties(const SampleState& state, uint64_t unit) {
  return (state.need - state.before + unit - 1) / unit;
}

TRIREME_HD float logprob_of(float raw, const SampleState& state) {
  return choose(raw > -infinity(), float(double(raw) - double(state.raw_max) - state.log_sum), -infinity());
}

// Row r's answer. id -1: nothing is allowed.
TRIREME_HD void set_answer(const SampleShard& shard, int32_t r, int32_t id, float raw) {
  SampleAnswer& answer = shard.answers[r];
  SampleState& state = shard.states[r];
  state.pending = 0;
  state.drawn_raw = raw;
  answer.id = id;
  if (id < 0) return;
  answer.logprob = logprob_of(raw, state);
  if (has_rank(shard.rows[r]) && !must_count_rank(shard.rows[r])) answer.rank = 1;
}

// The beams' log_sum, from every shard's mass relative to the same maximum.
TRIREME_HD double beam_log_sum(const Gathered& masses, int32_t num_shards, int32_t beam) {
  uint64_t sum = 0;
  for (int32_t s = 0; s < num_shards; ++s) sum += *gathered_at<uint64_t>(masses, s, beam);
  return sum > 0 ? mass_log(sum) : 0.0;
}

}  // namespace trireme
