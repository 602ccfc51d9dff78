#pragma once
// Joining the shards' sorted lists, and drawing where they prove the cut. Blocks of kMaxMergedCandidates
// threads: thread i has the i-th best entry.

#include "kernels/cuda/sampling/block.cuh"

namespace trireme::cuda {

inline constexpr int kMergeThreads = kMaxMergedCandidates;

struct Merged {
  SampleEntry entries[kMaxMergedCandidates];
  Word masses[kMaxMergedCandidates];
  Word sums[kMergeThreads];
  uint32_t keys[kMaxMergedCandidates];  // typical-p's
  int size;
  bool complete;  // nothing but -inf is missing
};

__device__ inline bool better(const SampleEntry& a, const SampleEntry& b) {
  const uint32_t key_a = order_key(a.value), key_b = order_key(b.value);
  return key_a > key_b || (key_a == key_b && a.id < b.id);
}

// How many entries of one sorted list are better than `entry`.
__device__ inline int count_better(const SampleEntry* list, int length, const SampleEntry& entry) {
  int low = 0, high = length;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (list[middle].id >= 0 && better(list[middle], entry))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The best `wanted` entries of all shards in order; ends where a full list does: what came next there is unknown.
__device__ inline void merge(Merged& merged, Gathered lists, int64_t first, int length, int num_shards, int wanted) {
  __shared__ int total, known;
  if (threadIdx.x == 0) total = 0, known = INT32_MAX;
  __syncthreads();
  for (int e = threadIdx.x; e < num_shards * length; e += blockDim.x) {
    const int s = e / length, j = e % length;
    const SampleEntry entry = *gathered_at<SampleEntry>(lists, s, first + j);
    if (entry.id < 0) continue;
    int place = j;
    for (int t = 0; t < num_shards; ++t)
      if (t != s) place += count_better(gathered_at<SampleEntry>(lists, t, first), length, entry);
    atomicAdd(&total, 1);
    if (j == length - 1) atomicMin(&known, place + 1);
    if (place < wanted) merged.entries[place] = entry;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    merged.complete = known == INT32_MAX && total < wanted;
    merged.size = min(min(total, known), wanted);
  }
  __syncthreads();
}

__device__ inline void answer_with(const SampleShard& shard, int r, int id, float raw) {
  if (threadIdx.x == 0) set_answer(shard, r, id, raw);
}

// masses[0, i] summed, for thread i.
__device__ inline Word inclusive_sum(Merged& merged, int size) {
  Word* sums = merged.sums;
  const int i = threadIdx.x;
  sums[i] = i < size ? merged.masses[i] : 0;
  __syncthreads();
  for (int step = 1; step < kMergeThreads; step *= 2) {
    const Word before = i >= step ? sums[i - step] : 0;
    __syncthreads();
    sums[i] += before;
    __syncthreads();
  }
  return sums[i];
}

// How many merged entries top-k and top-p keep; -1: not proven. state.mass: of all survivors where there is no top-k.
__device__ inline int kept_by_value(const SampleRow& row, const SampleState& state, Merged& merged, int vocab_size) {
  const bool top_k = has_top_k(row, vocab_size);
  if (top_k && merged.size < row.top_k && !merged.complete) return -1;
  const int limit = top_k ? min(row.top_k, merged.size) : merged.size;
  const int i = threadIdx.x;
  if (has_top_p(row)) {
    const Word total = top_k ? block_sum_of(i < limit ? merged.masses[i] : 0) : state.mass;
    const bool reached = inclusive_sum(merged, limit) >= needed_mass(row.top_p, total) && i < limit;
    const int first = block_reduce<int>(reached ? i : INT32_MAX, INT32_MAX, Smaller{});
    if (first != INT32_MAX) return first + 1;
  }
  if (top_k || merged.complete) return limit;
  // Beyond the list nothing survives where min-p ends inside it.
  return state.z_max - merged.entries[limit - 1].value > state.max_distance ? limit : -1;
}

// Whether thread i's entry is kept by typical-p, among entries[0, size).
__device__ inline bool kept_typical(SampleState& state, const SampleRow& row, Merged& merged, int size) {
  const int i = threadIdx.x;
  const float distance = i < size ? state.z_max - merged.entries[i].value : 0.0f;
  const Word mass = block_sum_of(i < size ? merged.masses[i] : 0);
  const Word moment = block_sum_of(i < size && distance < 100.0f ? moment_mass(distance) : 0);
  state.center = typical_center(moment, mass);
  if (i < size) merged.keys[i] = search_key(state, SampleSearch::typical, merged.entries[i].value);
  __syncthreads();
  if (i >= size) return false;
  Word before = 0;
  for (int other = 0; other < size; ++other)
    if (merged.keys[other] > merged.keys[i]) before += merged.masses[other];
  return before < needed_mass(row.typical_p, mass);
}

// Answers the row when the merged entries, the best ids by z, prove its cut. All threads of the block.
static __device__ __noinline__ void draw_from_merged(const SampleShard& shard, int r, Merged& merged) {
  const SampleRow& row = shard.rows[r];
  SampleState state = shard.states[r];
  const int i = threadIdx.x;
  if (i < merged.size) merged.masses[i] = mass_below(state.z_max - merged.entries[i].value);
  __syncthreads();
  int size = kept_by_value(row, state, merged, shard.vocab_size);
  if (size < 0) return;
  const bool in_min_p = i < size && state.z_max - merged.entries[i].value <= state.max_distance;
  size = __syncthreads_count(in_min_p || (i == 0 && size > 0));
  const bool kept = has_typical_p(row) ? kept_typical(state, row, merged, size) : i < size;
  const NoiseKey noise = noise_key(row, shard);
  BestDraw mine;
  if (kept)
    mine.offer(score_key(draw_score(merged.entries[i].value, noise, merged.entries[i].id)), merged.entries[i].id);
  const BestDraw best = block_best(mine);
  __shared__ float raw;
  if (kept && merged.entries[i].id == best.id) raw = merged.entries[i].raw;
  __syncthreads();
  answer_with(shard, r, best.id, raw);
}

// The same by the shards' candidates.
__device__ inline void draw_from_candidates(const SampleShard& shard, int r, Gathered candidates, Merged& merged) {
  merge(merged, candidates, int64_t(shard.index[r].candidates) * kSampleCandidates, kSampleCandidates, shard.num_shards,
        kMaxMergedCandidates);
  draw_from_merged(shard, r, merged);
}

// All shards' heads of one row as one, but for the mass; every thread does the same small loop.
__device__ inline SampleHead join_best(int num_shards, int64_t r, Gathered heads) {
  SampleHead joined{};
  joined.raw_max = joined.z_max = -infinity();
  joined.best_id = -1;
  for (int s = 0; s < num_shards; ++s) {
    const SampleHead& head = *gathered_at<SampleHead>(heads, s, r);
    joined.non_finite |= head.non_finite;
    joined.raw_max = fmaxf(joined.raw_max, head.raw_max);
    joined.z_max = fmaxf(joined.z_max, head.z_max);
    if (head.best_id < 0 || (joined.best_id >= 0 && !(head.best_score > joined.best_score))) continue;
    joined.best_id = head.best_id;  // ascending ids: an equal score of a later shard is no better
    joined.best_score = head.best_score;
    joined.best_raw = head.best_raw;
  }
  return joined;
}

// A shard's mass relative to the row's maximum; the shards' are added in their order. Rounded before it is added, so
// that it is the same bits whoever adds.
__device__ inline double mass_below_joined(const SampleHead& head, float raw_max) {
  return head.raw_mass ? __dmul_rn(double(head.raw_mass), exp(double(head.raw_max) - double(raw_max))) : 0.0;
}
__device__ inline double joined_log_sum(double mass) { return log(mass * 0x1p-45); }

__device__ inline SampleHead join_heads(const SampleShard& shard, int r, Gathered heads, SampleState& state) {
  const SampleHead joined = join_best(shard.num_shards, r, heads);
  double sum = 0;
  for (int s = 0; s < shard.num_shards; ++s)
    sum += mass_below_joined(*gathered_at<SampleHead>(heads, s, r), joined.raw_max);
  state.raw_max = joined.raw_max;
  state.log_sum = joined_log_sum(sum);
  return joined;
}

__device__ inline void fill_tops(const SampleShard& shard, int r, Gathered tops, Merged& merged) {
  const int wanted = min(shard.rows[r].top_logprobs, kMaxTopLogprobs);
  merge(merged, tops, int64_t(shard.index[r].top) * kMaxTopLogprobs, kMaxTopLogprobs, shard.num_shards, wanted);
  SampleAnswer& answer = shard.answers[r];
  const int i = threadIdx.x;
  if (i == 0) answer.top_count = merged.size;
  if (i >= merged.size) return;
  answer.top_ids[i] = merged.entries[i].id;
  answer.top_logprobs[i] = logprob_of(merged.entries[i].value, shard.states[r]);
}

// Sets row r's state and empty answer. Returns the joined head.
__device__ inline SampleHead resolve_head(const SampleShard& shard, int r, Gathered heads) {
  const SampleRow& row = shard.rows[r];
  SampleState state{};
  const SampleHead head = join_heads(shard, r, heads, state);
  if (has_cut(row, shard.vocab_size) && head.z_max > -infinity() && !head.non_finite)
    open_state(state, row, head.z_max);
  if (threadIdx.x == 0) {
    shard.answers[r] = SampleAnswer{};
    shard.answers[r].non_finite = head.non_finite;
    shard.states[r] = state;
  }
  __syncthreads();
  return head;
}

// Answers row r, which has neither lists nor a cut.
__device__ inline void resolve_by_head(const SampleShard& shard, int r, Gathered heads) {
  const SampleHead head = resolve_head(shard, r, heads);
  if (!head.non_finite) answer_with(shard, r, head.best_id, head.best_raw);
}

// Answers row r as far as the heads and the candidates prove it, else sets its state. All threads of the block.
__device__ inline void resolve_row(const SampleShard& shard, int r, Gathered heads, Gathered tops, Gathered candidates,
                                   Merged& merged) {
  const SampleRow& row = shard.rows[r];
  const SampleHead head = resolve_head(shard, r, heads);
  if (head.non_finite) return;
  const bool cut = has_cut(row, shard.vocab_size) && head.z_max > -infinity();
  if (shard.index[r].top >= 0) fill_tops(shard, r, tops, merged);
  __syncthreads();
  if (!has_cut(row, shard.vocab_size)) answer_with(shard, r, head.best_id, head.best_raw);
  if (cut && shard.index[r].open < 0) draw_from_candidates(shard, r, candidates, merged);
}

}  // namespace trireme::cuda
