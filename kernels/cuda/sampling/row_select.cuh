#pragma once
// The best few ids of a row in shared memory, in order. The thread maxima give each block a bound that `wanted` of its
// ids reach; the few that reach it are joined in the first block, which sorts them by counting. Where more tie than
// there is room for, the bound is made exact: a key, and an id among those that tie.

#include "kernels/cuda/sampling/row.cuh"

namespace trireme::cuda {

// (key, id) as one number: greater is better, 0 is nothing.
__device__ inline Word pair_of_key(uint32_t key, int id) { return Word(key) << 32 | uint32_t(~uint32_t(id)); }
__device__ inline uint32_t key_of_pair(Word pair) { return uint32_t(pair >> 32); }
__device__ inline int id_of_pair(Word pair) { return int(~uint32_t(pair)); }

// The greatest number, or one that is good enough, that at least `wanted` of what count() counts reach: the search ends
// once no more than `enough` reach it. At least `wanted` reach `low`, or it is the answer.
template <typename Number, typename Count>
__device__ Number reached_by(Number low, Number high, int wanted, int enough, Count&& count) {
  int reached = count(low);
  if (reached < wanted) return low;
  while (low < high && reached > enough) {
    const Number middle = low + (high - low + 1) / 2;
    const int number = count(middle);
    if (number >= wanted)
      low = middle, reached = number;
    else
      high = middle - 1;
  }
  return low;
}

__device__ inline void add_pair(RowBlock& block, Word pair) {
  const int place = atomicAdd(&block.shared().found, 1);
  if (place < kPairRoom) block.shared().pairs[place] = pair;
}

// shared->pairs, [0, found): at least the chunk's best `wanted`. Returns a key that `wanted` ids reach, or the least.
__device__ inline uint32_t select_chunk(RowBlock& block, float thread_best, int wanted) {
  constexpr uint32_t kLeast = kMinusInfinityKey + 1;
  const uint32_t own = order_key(thread_best), best = block_reduce<uint32_t>(own, 0, Larger{});
  if (threadIdx.x == 0) block.shared().found = 0;
  const uint32_t bound = reached_by<uint32_t>(kLeast, best > kLeast ? best : kLeast, wanted, wanted + 16,
                                              [&](uint32_t key) { return __syncthreads_count(own >= key); });
  __syncthreads();
  if (own >= bound)
    block.for_values([&](float value, int i) {
      if (order_key(value) >= bound) add_pair(block, pair_of_key(order_key(value), block.first_id() + i));
    });
  __syncthreads();
  if (block.shared().found <= kPairRoom) return bound;

  const auto count_if = [&](auto&& condition) {
    int count = 0;
    block.for_values([&](float value, int i) { count += condition(order_key(value), i); });
    return block_reduce<int>(count, 0, Sum{});
  };
  const uint32_t key = reached_by<uint32_t>(bound, best, wanted, kPairRoom, [&](uint32_t at_least) {
    return count_if([=](uint32_t k, int) { return k >= at_least; });
  });
  const int above = count_if([=](uint32_t k, int) { return k > key; });
  // -id descends: the greatest -id that enough ties reach.
  const int last = -reached_by<int>(-block.n(), 0, wanted - above, kPairRoom - above, [&](int minus) {
    return count_if([=](uint32_t k, int i) { return k == key && i <= -minus; });
  });
  __syncthreads();
  if (threadIdx.x == 0) block.shared().found = 0;
  __syncthreads();
  block.for_values([&](float value, int i) {
    const uint32_t k = order_key(value);
    if (k > key || (k == key && i <= last)) add_pair(block, pair_of_key(k, block.first_id() + i));
  });
  __syncthreads();
  return key;
}

// All blocks' pairs that reach `bound` into the first block's merged[0, count).
static __device__ __noinline__ int join_pairs(RowShared& shared, uint32_t bound, int wanted) {
  const int blocks = cluster_size();
  Word mine[kMaxRowBlocks];
#pragma unroll
  for (int b = 0; b < kMaxRowBlocks; ++b) {
    mine[b] = 0;
    if (b >= blocks || int(threadIdx.x) >= *peer_shared(&shared.found, b)) continue;
    const Word pair = peer_shared(&shared.pairs[0], b)[threadIdx.x];
    if (key_of_pair(pair) >= bound) mine[b] = pair;
  }
  const auto count = [&](Word least) {
    int number = 0;
#pragma unroll
    for (int b = 0; b < kMaxRowBlocks; ++b) number += mine[b] >= least;
    return block_reduce<int>(number, 0, Sum{});
  };
  const Word least = reached_by<Word>(Word(bound) << 32, ~Word(0), wanted, kPairRoom / 2, count);
  if (threadIdx.x == 0) shared.list_size = 0;
  __syncthreads();
#pragma unroll
  for (int b = 0; b < kMaxRowBlocks; ++b)
    if (mine[b] >= least) shared.merged[atomicAdd(&shared.list_size, 1)] = mine[b];
  __syncthreads();
  return shared.list_size;
}

// entries[0, wanted), best first, -inf left out; by the first block.
__device__ inline void select_row(SampleEntry* entries, RowBlock& block, const SampleShard& shard, float thread_best,
                                  int wanted) {
  uint32_t bound = 0;
  block.exchange(select_chunk(block, thread_best, wanted), 0,
                 [&](int, Word key, Word) { bound = uint32_t(key) > bound ? uint32_t(key) : bound; });
  if (block.leads()) {
    const int count = join_pairs(block.shared(), bound, wanted);
    const Word* merged = block.shared().merged;
    const Word pair = int(threadIdx.x) < count ? merged[threadIdx.x] : 0;
    int place = 0;
    for (int i = 0; i < count; ++i) place += merged[i] > pair;
    if (pair && place < wanted) {
      const int id = id_of_pair(pair);
      entries[place] = {key_float(key_of_pair(pair)), id, raw_row(shard, block.r())[id - shard.vocab_begin]};
    }
    if (!pair && int(threadIdx.x) < wanted && int(threadIdx.x) >= count)
      entries[threadIdx.x] = {-infinity(), -1, -infinity()};
  }
  cluster_sync();  // the peers' pairs may be written again
}

}  // namespace trireme::cuda
