#pragma once
// A row in shared memory. The blocks of one cluster hold the chunks of one row, in the order of ids, from the first
// look at it to the last, so that memory is read once. Values that all blocks need are reduced over the block and then
// exchanged through the peers' shared memory; every thread of the cluster takes part in an exchange.

#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/sampling/merge.cuh"

namespace trireme::cuda {

inline constexpr int kRowThreads = 512;
inline constexpr int kMaxRowBlocks = 8;   // portable size of a cluster
inline constexpr int kMinChunk = 4096;    // ids below which a further block is not worth its barriers
inline constexpr int kChunkMultiple = 8;  // 16 bytes of counts
inline constexpr int kPairRoom = kRowThreads;
inline constexpr int kListRoom = 2 * kRowThreads;
static_assert(kRowThreads == kMergeThreads);

// Sums of 64-bit weights by native 32-bit atomics: three parts of 15 bits, which 2^17 weights cannot overflow.
inline constexpr int kBinParts = 3, kBinPartBits = 15;

struct SearchScratch {
  uint32_t bins[kBinParts][kSampleBins];
  Word list[kListRoom];  // first block: (order_key(z), id) of the ids around the cut
};

struct RowPlace {
  int r;         // row
  int begin;     // index in the shard of the chunk's first id
  int first_id;  // its global id
  int n, quads;  // ids of the chunk; groups of four that hold them
};

struct RowShared {
  RowPlace place;
  SampleRow row;
  SampleState state;
  Word slots[2][2];  // what this block says in an exchange; two, so that one barrier per exchange is enough
  // From here on only where rows have lists: top log-probabilities or candidates.
  Word pairs[kPairRoom];   // this block's best ids
  Word merged[kPairRoom];  // first block: of all blocks
  int found, list_size;
  union alignas(16) Scratch {
    SearchScratch search;
    Merged merged;
    uint16_t counts[sizeof(SearchScratch) / sizeof(uint16_t)];
    __device__ Scratch() {}
  } scratch;
};

__device__ inline unsigned char* row_memory() {
  extern __shared__ __align__(16) unsigned char memory_of_row[];
  return memory_of_row;
}

// A block's view of its chunk. What does not change lies in shared memory: registers are scarce.
struct RowBlock {
  int x_offset;  // in row_memory()
  int turn;      // slot of the next exchange

  __device__ RowShared& shared() const { return *reinterpret_cast<RowShared*>(row_memory()); }
  // [4 * quads()]: raw logits, then z; behind the n-th -inf
  __device__ float* x() const { return reinterpret_cast<float*>(row_memory() + x_offset); }
  __device__ int r() const { return shared().place.r; }
  __device__ int begin() const { return shared().place.begin; }
  __device__ int first_id() const { return shared().place.first_id; }
  __device__ int n() const { return shared().place.n; }
  __device__ int quads() const { return shared().place.quads; }
  __device__ int rank() const { return cluster_rank(); }
  __device__ int size() const { return cluster_size(); }
  __device__ const SampleRow& row() const { return shared().row; }
  __device__ SampleState& state() const { return shared().state; }
  __device__ bool leads() const { return rank() == 0; }

  // use(rank, a, b) for what thread 0 of every block gave, in the order of ids.
  template <typename Use>
  __device__ void exchange(Word a, Word b, Use&& use) {
    if (threadIdx.x == 0) {
      shared().slots[turn][0] = a;
      shared().slots[turn][1] = b;
    }
    cluster_sync();
    const int blocks = size();
    for (int block = 0; block < blocks; ++block) {
      const Word* slot = peer_shared(&shared().slots[turn][0], block);
      use(block, slot[0], slot[1]);
    }
    turn ^= 1;
  }

  // function(value, i) for this thread's values, i ascending.
  template <typename Function>
  __device__ void for_values(Function&& function) const {
    const float4* quad = reinterpret_cast<const float4*>(x());
    const int count = quads();
    for (int q = threadIdx.x; q < count; q += kRowThreads) {
      const float4 v = quad[q];
      function(v.x, 4 * q);
      function(v.y, 4 * q + 1);
      function(v.z, 4 * q + 2);
      function(v.w, 4 * q + 3);
    }
  }
};

__device__ inline Word row_sum(RowBlock& block, Word value) {
  Word sum = 0;
  block.exchange(block_sum_of(value), 0, [&](int, Word a, Word) { sum += a; });
  return sum;
}

__device__ inline uint32_t row_max(RowBlock& block, uint32_t value) {
  uint32_t best = 0;
  block.exchange(block_reduce<uint32_t>(value, 0, Larger{}), 0,
                 [&](int, Word a, Word) { best = uint32_t(a) > best ? uint32_t(a) : best; });
  return best;
}

__device__ inline BestDraw row_best(RowBlock& block, const BestDraw& mine) {
  const BestDraw own = block_best(mine);
  BestDraw best;
  block.exchange(Word(own.key), Word(own.id), [&](int, Word key, Word id) {
    if (int(id) != INT32_MAX) best.offer((long long)(key), int(id));  // blocks hold ascending ids
  });
  return best;
}

template <bool kLists>
__device__ bool copies_counts(const SampleShard& shard, const RowBlock& block) {
  return kLists && block.n() <= int(sizeof(block.shared().scratch.counts) / sizeof(uint16_t)) &&
         (shard.vocab_local % kChunkMultiple == 0) && uintptr_t(shard.counts) % 16 == 0;
}

// The chunk's logits and, where they fit, its counts into shared memory.
template <bool kLists>
__device__ void load_chunk(RowBlock& block, const SampleShard& shard) {
  const float* from = raw_row(shard, block.r()) + block.begin();
  const int whole_quads = uintptr_t(from) % 16 == 0 ? block.n() / 4 : 0;
  for (int q = threadIdx.x; q < whole_quads; q += kRowThreads) copy_16_async(block.x() + 4 * q, from + 4 * q, true);
  for (int i = 4 * whole_quads + threadIdx.x; i < 4 * block.quads(); i += kRowThreads) {
    if (i < block.n())
      copy_4_async(block.x() + i, from + i);
    else
      block.x()[i] = -infinity();
  }
  const SampleRow& row = block.row();
  if (!is_score(row) && !is_beam(row) && has_penalties(row) && copies_counts<kLists>(shard, block)) {
    const uint16_t* counts = shard.counts + int64_t(row.slot) * shard.vocab_local + block.begin();
    for (int i = kChunkMultiple * threadIdx.x; i < block.n(); i += kChunkMultiple * kRowThreads)
      copy_16_async(block.shared().scratch.counts + i, counts + i, true);
  }
  wait_for_copies();
  __syncthreads();
}

}  // namespace trireme::cuda
