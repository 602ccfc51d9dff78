#pragma once
// The few ids of a row above a bound that is known to be low enough: found on the first look at the row, gathered on
// the second, sorted by the block.

#include "kernels/cuda/sampling/direct.cuh"

namespace trireme::cuda {

inline constexpr float kGathersAll = -FLT_MAX;  // a bound: every id that is not impossible

// A logit that at least `wanted` of the threads' greatest reach, and, so that what z rounds to a tie with it is in,
// a little less.
__device__ inline float least_gathered(float thread_best, float raw_max, int wanted) {
  constexpr uint32_t kLeast = kMinusInfinityKey + 1;
  const uint32_t own = order_key(thread_best);
  const uint32_t key = reached_by<uint32_t>(kLeast, order_key(raw_max), wanted, wanted + 16,
                                            [&](uint32_t at_least) { return __syncthreads_count(own >= at_least); });
  if (key == kLeast) return kGathersAll;
  const float value = key_float(key);
  return fmaxf(value - fabsf(value) * 4.8e-7f, kGathersAll);
}

// entries[0, wanted) from the gathered pairs. Eight threads count what is before a pair.
__device__ inline void sort_gathered(SampleEntry* entries, const DirectShared& shared, int wanted) {
  constexpr int kTogether = 8, kPairsOfWarp = 32 / kTogether;
  const int count = shared.gathered, thread = int(threadIdx.x), member = thread % kTogether;
  for (int first = thread / 32 * kPairsOfWarp; first < count; first += kDirectThreads / kTogether) {
    const int e = first + thread % 32 / kTogether;
    const Word pair = shared.pairs[min(e, count - 1)];
    int place = 0;
#pragma unroll 4
    for (int i = member; i < count; i += kTogether) place += shared.pairs[i] > pair;
#pragma unroll
    for (int apart = 1; apart < kTogether; apart *= 2) place += __shfl_xor_sync(~0u, place, apart);
    if (member == 0 && e < count && place < wanted)
      entries[place] = {key_float(key_of_pair(pair)), id_of_pair(pair), shared.raws[e]};
  }
  for (int i = count + thread; i < wanted; i += kDirectThreads) entries[i] = {-infinity(), -1, -infinity()};
}

// The gathered pairs become those of z. Returns how many of them are sure to be better than all other ids: the best.
__device__ inline int process_gathered(DirectShared& shared, const DirectRow& row, float least) {
  const uint32_t others = least == kGathersAll ? 0 : order_key(row.tempered_by_row(least));
  int sure = 0;
  for (int e = int(threadIdx.x); e < shared.gathered; e += kDirectThreads) {
    const int id = id_of_pair(shared.pairs[e]);
    const uint32_t key = order_key(row.z(shared.raws[e], id));
    shared.pairs[e] = pair_of_key(key, id);
    sure += key > others;
  }
  return block_reduce<int>(sure, 0, Sum{});
}

__device__ inline Word best_gathered(const DirectShared& shared) {
  Word best = 0;
  for (int e = int(threadIdx.x); e < shared.gathered; e += kDirectThreads)
    best = shared.pairs[e] > best ? shared.pairs[e] : best;
  return block_reduce<Word>(best, 0, Larger{});
}

__device__ inline SampleHead empty_head(float raw_max) {
  SampleHead head{};
  head.raw_max = raw_max;
  head.z_max = head.best_raw = -infinity();
  head.best_id = -1;
  return head;
}

struct DirectJob {
  const RowJob& job;
  DirectShared& shared;
  const DirectRow& row;
  int r;
  float thread_best, raw_max;
};

// Top log-probabilities, from the gathered ids while they are in the order of logits.
__device__ inline void list_tops(const DirectJob& d) {
  const int top = d.job.shard.index[d.r].top;
  if (top >= 0) sort_gathered(d.job.tops + int64_t(top) * kMaxTopLogprobs, d.shared, kMaxTopLogprobs);
  __syncthreads();
}

__device__ inline void put_head(const DirectJob& d, const SampleHead& head) {
  if (threadIdx.x == 0) d.job.heads[d.r] = head;
  __syncthreads();
}

__device__ inline Gathered only_shard(const void* data) { return {static_cast<const char*>(data), 0}; }

}  // namespace trireme::cuda
