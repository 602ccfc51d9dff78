#pragma once
// Joining the shards' sorted lists, and drawing where they prove the cut. Blocks of kMaxMergedCandidates
// threads: thread i has the i-th best entry.

#include "kernels/cuda/sample_block.cuh"

namespace trireme::cuda {

inline constexpr int kMergeThreads = kMaxMergedCandidates;

struct Merged {
  SampleEntry entries[kMaxMergedCandidates];
  Word masses[kMaxMergedCandidates];
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
  if (threadIdx.x != 0) return;
  SampleAnswer& answer = shard.answers[r];
  SampleState& state = shard.states[r];
  state.pending = 0;
  state.drawn_raw = raw;
  answer.id = id;
  if (id < 0) return;
  answer.logprob = logprob_of(raw, state);
  if (has_rank(shard.rows[r]) && !must_count_rank(shard.rows[r])) answer.rank = 1;
}

// masses[0, i] summed, for thread i.
__device__ inline Word inclusive_sum(const Word* masses, int size) {
  __shared__ Word sums[kMergeThreads];
  const int i = threadIdx.x;
  sums[i] = i < size ? masses[i] : 0;
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
__device__ inline int kept_by_value(const SampleRow& row, const SampleState& state, const Merged& merged,
                                    int vocab_size) {
  const bool top_k = has_top_k(row, vocab_size);
  if (top_k && merged.size < row.top_k && !merged.complete) return -1;
  const int limit = top_k ? min(row.top_k, merged.size) : merged.size;
  const int i = threadIdx.x;
  if (has_top_p(row)) {
    const Word total = top_k ? block_sum_of(i < limit ? merged.masses[i] : 0) : state.mass;
    const bool reached = inclusive_sum(merged.masses, limit) >= needed_mass(row.top_p, total) && i < limit;
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

// Answers the row when the candidates prove its cut. All threads of the block.
__device__ inline void draw_from_candidates(const SampleShard& shard, int r, Gathered candidates) {
  __shared__ Merged merged;
  const SampleRow& row = shard.rows[r];
  SampleState state = shard.states[r];
  merge(merged, candidates, int64_t(shard.index[r].candidates) * kSampleCandidates, kSampleCandidates, shard.num_shards,
        kMaxMergedCandidates);
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

}  // namespace trireme::cuda
