#pragma once
// Rows cut by top-p or min-p, or by a top-k of a few hundred, whose survivors are among the few hundred greatest ids,
// as those of a trained model nearly always are: these ids are gathered while the masses are summed, and what of them
// survives is drawn from.

#include "kernels/cuda/sampling/gathered.cuh"

namespace trireme::cuda {

inline constexpr int kNucleusIds = 256;  // gathered at least
// Where the last of them are no further below the greatest (of z), all the others weigh too much to be cut off.
inline constexpr float kNucleusDistance = 4.0f;

__device__ inline bool may_have_nucleus(const SampleRow& row, int vocab_size) {
  if (has_top_k(row, vocab_size)) return row.top_k <= kNucleusIds;
  return (has_top_p(row) || has_min_p(row)) && !has_typical_p(row);
}

// The row's state, and its best ids by z in order.
__device__ inline void open_nucleus(const DirectJob& d, const SampleHead& head, Word z_mass, int sure, bool all) {
  const SampleShard& shard = d.job.shard;
  Merged& merged = d.shared.merged;
  put_head(d, head);
  resolve_head(shard, d.r, only_shard(d.job.heads));
  if (shard.index[d.r].top >= 0) fill_tops(shard, d.r, only_shard(d.job.tops), merged);
  __syncthreads();
  sort_gathered(merged.entries, d.shared, kMaxMergedCandidates);
  if (threadIdx.x == 0) {
    shard.states[d.r].mass = z_mass;
    merged.size = min(sure, kMaxMergedCandidates);
    merged.complete = all && sure <= kMaxMergedCandidates;
  }
  __syncthreads();
}

// false: not answered; nothing is gathered then, for another try.
__device__ inline bool answer_nucleus(const DirectJob& d) {
  const SampleShard& shard = d.job.shard;
  const SampleRow& row = d.shared.row;
  const bool top_k = has_top_k(row, shard.vocab_size);
  const float least = least_gathered(d.thread_best, d.raw_max, kNucleusIds), temperature = d.row.temperature;
  const bool all = least == kGathersAll;
  if (!top_k && !all && d.raw_max - least < kNucleusDistance * temperature) return false;
  SampleHead head = empty_head(d.raw_max);
  head.z_max = d.row.tempered_by_row(d.raw_max);
  const bool with_z = !top_k && !d.row.counts && temperature != 1.0f;
  const DirectMasses masses = with_z ? direct_masses<true>(d.shared, d.row, d.raw_max, head.z_max, least)
                                     : direct_masses<false>(d.shared, d.row, d.raw_max, head.z_max, least);
  head.raw_mass = masses.raw;
  int sure = 0;
  if (d.shared.gathered <= kGatherRoom) {
    list_tops(d);
    sure = process_gathered(d.shared, d.row, least);
  }
  if (sure > 0) {
    head.z_max = key_float(key_of_pair(best_gathered(d.shared)));
    const Word z_mass = top_k || with_z ? masses.z : d.row.counts ? direct_z_mass(d.row, head.z_max) : masses.raw;
    open_nucleus(d, head, z_mass, sure, all);
    draw_from_merged(shard, d.r, d.shared.merged);
  }
  __syncthreads();
  const bool answered = sure > 0 && shard.states[d.r].pending == 0;
  if (threadIdx.x == 0) d.shared.gathered = 0;
  __syncthreads();
  return answered;
}

}  // namespace trireme::cuda
