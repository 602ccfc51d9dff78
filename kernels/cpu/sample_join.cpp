// What every rank computes alike from the gathered parts of all shards: small work, one row after another.

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/cpu/sample.h"
#include "kernels/peer_gather.h"
#include "kernels/sample_rows.h"

namespace trireme::cpu {
namespace {

// The best entries of all shards in order, as far as the shards' lists prove them.
struct Merged {
  SampleEntry entries[kMaxMergedCandidates];
  int size = 0;
  bool complete = false;  // nothing but -inf is missing
};

bool better(const SampleEntry& a, const SampleEntry& b) {
  const uint32_t key_a = order_key(a.value), key_b = order_key(b.value);
  return key_a > key_b || (key_a == key_b && a.id < b.id);
}

// Merges each shard's list of `length` entries; ends where a full list does: what came next there is unknown.
Merged merge(Gathered lists, int64_t first, int length, int32_t num_shards, int wanted) {
  Merged merged;
  int cursors[kMaxSampleShards] = {};
  while (merged.size < wanted) {
    const SampleEntry* best = nullptr;
    int32_t from = 0;
    for (int32_t s = 0; s < num_shards; ++s) {
      if (cursors[s] == length) continue;
      const SampleEntry* entry = gathered_at<SampleEntry>(lists, s, first + cursors[s]);
      if (entry->id < 0 || (best && !better(*entry, *best))) continue;
      best = entry;
      from = s;
    }
    if (!best) {
      merged.complete = true;
      return merged;
    }
    merged.entries[merged.size++] = *best;
    if (++cursors[from] == length) return merged;
  }
  return merged;
}

// How many merged candidates top-k and top-p keep; -1: not proven. state.mass: of all survivors where there is no
// top-k.
int kept_by_value(const SampleRow& row, const SampleState& state, const Merged& merged, int32_t vocab_size) {
  const bool top_k = has_top_k(row, vocab_size);
  if (top_k && merged.size < row.top_k && !merged.complete) return -1;
  const int limit = top_k ? std::min(row.top_k, merged.size) : merged.size;
  uint64_t total = top_k ? 0 : state.mass;
  const auto mass = [&](int i) { return mass_below(state.z_max - merged.entries[i].value); };
  if (top_k)
    for (int i = 0; i < limit; ++i) total += mass(i);
  if (has_top_p(row)) {
    const uint64_t need = needed_mass(row.top_p, total);
    uint64_t before = 0;
    for (int i = 0; i < limit; ++i)
      if ((before += mass(i)) >= need) return i + 1;
  }
  if (top_k || merged.complete) return limit;
  // Beyond the list nothing survives where min-p ends inside it.
  return state.z_max - merged.entries[limit - 1].value > state.max_distance ? limit : -1;
}

// typical-p's border over entries[0, size), all of which survived so far.
void cut_typical(SampleState& state, const SampleRow& row, const Merged& merged, int size) {
  uint64_t mass = 0, moment = 0;
  for (int i = 0; i < size; ++i) {
    const float distance = state.z_max - merged.entries[i].value;
    mass += mass_below(distance);
    moment += distance < 100.0f ? moment_mass(distance) : 0;
  }
  state.center = typical_center(moment, mass);
  std::pair<uint32_t, uint64_t> shifts[kMaxMergedCandidates];  // (search key, mass)
  for (int i = 0; i < size; ++i) {
    const float z = merged.entries[i].value;
    shifts[i] = {search_key(state, SampleSearch::typical, z), mass_below(state.z_max - z)};
  }
  std::sort(shifts, shifts + size, std::greater<>());
  const uint64_t need = needed_mass(row.typical_p, mass);
  uint64_t before = 0;
  for (int i = 0; i < size; ++i) {
    if ((before += shifts[i].second) < need) continue;
    state.spread = bits_float(~shifts[i].first);
    return;
  }
}

// Answers the row when the candidates prove its cut.
void draw_from_candidates(const SampleShard& shard, int32_t r, Gathered candidates) {
  const SampleRow& row = shard.rows[r];
  SampleState state = shard.states[r];
  const Merged merged = merge(candidates, int64_t(shard.index[r].candidates) * kSampleCandidates, kSampleCandidates,
                              shard.num_shards, kMaxMergedCandidates);
  int size = kept_by_value(row, state, merged, shard.vocab_size);
  if (size < 0) return;
  while (size > 1 && state.z_max - merged.entries[size - 1].value > state.max_distance) --size;
  if (has_typical_p(row)) cut_typical(state, row, merged, size);
  const NoiseKey key = noise_key(row, shard);
  int best = -1;
  double best_score = 0;
  for (int i = 0; i < size; ++i) {
    const SampleEntry& entry = merged.entries[i];
    if (typical_shift(state, state.z_max - entry.value) > state.spread) continue;
    const double score = draw_score(entry.value, key, entry.id);
    const bool wins = best < 0 || score > best_score || (score == best_score && entry.id < merged.entries[best].id);
    if (!wins) continue;
    best = i;
    best_score = score;
  }
  set_answer(shard, r, merged.entries[best].id, merged.entries[best].raw);
}

void fill_tops(const SampleShard& shard, int32_t r, Gathered tops) {
  SampleAnswer& answer = shard.answers[r];
  const int wanted = std::min(shard.rows[r].top_logprobs, kMaxTopLogprobs);
  const Merged merged =
      merge(tops, int64_t(shard.index[r].top) * kMaxTopLogprobs, kMaxTopLogprobs, shard.num_shards, wanted);
  answer.top_count = merged.size;
  for (int i = 0; i < merged.size; ++i) {
    answer.top_ids[i] = merged.entries[i].id;
    answer.top_logprobs[i] = logprob_of(merged.entries[i].value, shard.states[r]);
  }
}

// All shards' heads of one row as one.
SampleHead join_heads(const SampleShard& shard, int32_t r, Gathered heads, SampleState& state) {
  SampleHead joined{};
  joined.raw_max = joined.z_max = -infinity();
  joined.best_id = -1;
  for (int32_t s = 0; s < shard.num_shards; ++s) {
    const SampleHead& head = *gathered_at<SampleHead>(heads, s, r);
    joined.non_finite |= head.non_finite;
    joined.raw_max = std::max(joined.raw_max, head.raw_max);
    joined.z_max = std::max(joined.z_max, head.z_max);
    if (head.best_id < 0 || (joined.best_id >= 0 && !(head.best_score > joined.best_score))) continue;
    joined.best_id = head.best_id;  // ascending ids: an equal score of a later shard is no better
    joined.best_score = head.best_score;
    joined.best_raw = head.best_raw;
  }
  double sum = 0;
  for (int32_t s = 0; s < shard.num_shards; ++s) {
    const SampleHead& head = *gathered_at<SampleHead>(heads, s, r);
    if (head.raw_mass) sum += double(head.raw_mass) * std::exp(double(head.raw_max) - double(joined.raw_max));
  }
  state.raw_max = joined.raw_max;
  state.log_sum = std::log(sum * 0x1p-45);
  return joined;
}

template <typename Function>
void for_pending_rows(const SampleShard& shard, Function&& function) {
  for (int32_t r = 0; r < shard.num_rows; ++r)
    if (shard.index[r].open >= 0 && shard.states[r].pending) function(r, shard.states[r]);
}

// The id of this shard's `quota`-th survivor whose key is the cut's: it and those before it are kept.
int32_t last_kept_tie(const SampleShard& shard, int32_t r, uint64_t quota) {
  const float* z = shard.z + int64_t(r) * shard.vocab_local;
  int32_t kept = -1;
  for (int32_t i = 0; i < shard.vocab_local && quota > 0; ++i) {
    if (order_key(z[i]) != shard.states[r].cut_key) continue;
    kept = shard.vocab_begin + i;
    --quota;
  }
  return kept;
}

void set_cut(const SampleShard& shard, int32_t r, SampleSearch search, Gathered bins, int64_t bin) {
  SampleState& state = shard.states[r];
  state.searching = 0;
  if (search == SampleSearch::typical) {
    state.spread = bits_float(~state.prefix);
    return;
  }
  const uint64_t unit = tie_unit(state, search);
  const int64_t first = int64_t(shard.index[r].open) * kSampleBins + bin;
  uint64_t quota = kept_ties(state, unit);
  for (int32_t s = 0; s < shard.shard; ++s) {
    const uint64_t ties = *gathered_at<uint64_t>(bins, s, first) / unit;
    quota -= std::min(quota, ties);
  }
  state.cut_key = state.prefix;
  const uint64_t mine = *gathered_at<uint64_t>(bins, shard.shard, first) / unit;
  state.cut_id = last_kept_tie(shard, r, std::min(quota, mine));
}

}  // namespace

void sample_resolve(const SampleShard& shard, Gathered heads, Gathered tops, Gathered candidates, const Stream&) {
  for (int32_t r = 0; r < shard.num_rows; ++r) {
    const SampleRow& row = shard.rows[r];
    shard.answers[r] = SampleAnswer{};
    SampleState& state = shard.states[r] = SampleState{};
    const SampleHead head = join_heads(shard, r, heads, state);
    shard.answers[r].non_finite = head.non_finite;
    if (head.non_finite) continue;
    if (shard.index[r].top >= 0) fill_tops(shard, r, tops);
    if (!has_cut(row, shard.vocab_size)) {
      set_answer(shard, r, head.best_id, head.best_raw);
    } else if (head.z_max > -infinity()) {
      open_state(state, row, head.z_max);
      if (shard.index[r].open < 0) draw_from_candidates(shard, r, candidates);
    }
  }
}

void sample_resolve_with_peers(int32_t* ids, char* all, const char* parts, const SampleShard& shard,
                               const PeerBuffers& peers, const Stream& stream) {
  const FirstRoundLayout layout(shard);
  peer_all_gather(TensorView(all, DType::u8, {peers.size, layout.bytes}, shard.device),
                  TensorView(const_cast<char*>(parts), DType::u8, {layout.bytes}, shard.device), peers, stream);
  cpu::sample_resolve(shard, {all, layout.bytes}, {all + layout.tops, layout.bytes},
                      {all + layout.candidates, layout.bytes}, stream);
  cpu::sample_ids(ids, shard, stream);
}

void sample_resolve_open(const SampleShard& shard, Gathered stats, Gathered candidates, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, SampleState& state) {
    const SampleStats sum = sum_stats(shard, stats, shard.index[r].open);
    state.mass = sum.mass;
    state.count = sum.count;
    draw_from_candidates(shard, r, candidates);
  });
}

void sample_search_begin(const SampleShard& shard, SampleSearch search, Gathered stats, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, SampleState& state) {
    const SampleRow& row = shard.rows[r];
    state.searching = takes_part(row, search, shard.vocab_size);
    if (!state.searching) return;
    const SampleStats sum = sum_stats(shard, stats, shard.index[r].open);
    state.prefix = 0;
    state.before = 0;
    if (search == SampleSearch::count) state.need = std::min(uint64_t(row.top_k), sum.count);
    if (search == SampleSearch::mass) state.need = needed_mass(row.top_p, sum.mass);
    if (search == SampleSearch::typical) {
      state.need = needed_mass(row.typical_p, sum.mass);
      state.center = typical_center(sum.moment, sum.mass);
    }
  });
}

void sample_search_step(const SampleShard& shard, SampleSearch search, int pass, Gathered bins, const Stream&) {
  const SearchDigit digit = search_digit(pass);
  for_pending_rows(shard, [&](int32_t r, SampleState& state) {
    if (!state.searching) return;
    int64_t chosen = 0;
    // Nothing lies above the row's best value.
    const bool from_best = pass == 0 && search != SampleSearch::typical;
    for (int64_t bin = from_best ? order_key(state.z_max) >> digit.shift : digit.mask; bin >= 0; --bin) {
      uint64_t weight = 0;
      for (int32_t s = 0; s < shard.num_shards; ++s)
        weight += *gathered_at<uint64_t>(bins, s, int64_t(shard.index[r].open) * kSampleBins + bin);
      chosen = bin;
      if (state.before + weight >= state.need) break;
      state.before += weight;
    }
    state.prefix = state.prefix << (digit.above - digit.shift) | uint32_t(chosen);
    if (pass == kSearchPasses - 1) set_cut(shard, r, search, bins, chosen);
  });
}

void sample_finish(const SampleShard& shard, Gathered best, const Stream&) {
  for_pending_rows(shard, [&](int32_t r, SampleState&) {
    const SampleBest* winner = nullptr;
    for (int32_t s = 0; s < shard.num_shards; ++s) {
      const SampleBest* one = gathered_at<SampleBest>(best, s, shard.index[r].open);
      if (one->id >= 0 && (!winner || one->score > winner->score)) winner = one;
    }
    set_answer(shard, r, winner ? winner->id : -1, winner ? winner->raw : 0.0f);
  });
}

void sample_finish_rank(const SampleShard& shard, Gathered greater, const Stream&) {
  for (int32_t r = 0; r < shard.num_rows; ++r) {
    SampleAnswer& answer = shard.answers[r];
    if (shard.index[r].rank < 0 || answer.id < 0) continue;
    answer.rank = 1;
    for (int32_t s = 0; s < shard.num_shards; ++s)
      answer.rank += *gathered_at<int32_t>(greater, s, shard.index[r].rank);
  }
}

void sample_merge_candidates(SampleEntry* merged, const SampleShard& shard, Gathered candidates, const Stream&) {
  for (int32_t r = 0; r < shard.num_rows; ++r) {
    const int32_t beam = shard.index[r].beam;
    if (beam < 0 || shard.answers[r].non_finite) continue;
    const int wanted = shard.rows[r].num_candidates;
    const int64_t first = int64_t(beam) * kSampleCandidates;
    const Merged best = merge(candidates, first, wanted, shard.num_shards, wanted);
    shard.answers[r].candidate_count = best.size;
    for (int i = 0; i < best.size; ++i) {
      const SampleEntry& entry = best.entries[i];
      merged[first + i] = {entry.value, entry.id, logprob_of(entry.raw, shard.states[r])};
    }
  }
}

void sample_ids(int32_t* ids, const SampleShard& shard, const Stream&) {
  for (int32_t r = 0; r < shard.num_rows; ++r) ids[r] = draws(shard.rows[r]) ? shard.answers[r].id : -1;
}

}  // namespace trireme::cpu
