// The best few ids of each row, in order. Every thread's own maximum gives a bound that at least `wanted` ids
// reach; what reaches it is few unless very many tie, is collected and sorted. Where too many tie for the
// room, the ids are found one after another.

#include "kernels/cuda/sampling/block.cuh"

namespace trireme::cuda {
namespace {

constexpr int kRoom = 2048;

// (key, id) as one number: greater is better, 0 is nothing.
__device__ Word pair_of(float value, int id) { return Word(order_key(value)) << 32 | uint32_t(~uint32_t(id)); }
__device__ uint32_t pair_key(Word pair) { return uint32_t(pair >> 32); }
__device__ int pair_id(Word pair) { return int(~uint32_t(pair)); }

// Bitonic sort of values[0, size) in shared memory, descending; size is a power of two.
template <typename T>
__device__ void sort_descending(T* values, int size) {
  for (int width = 2; width <= size; width *= 2)
    for (int step = width / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const int other = i ^ step;
        if (other <= i) continue;
        const bool descending = (i & width) == 0;
        const T a = values[i], b = values[other];
        if ((a < b) != descending) continue;
        values[i] = b;
        values[other] = a;
      }
    }
  __syncthreads();
}

// A key that at least `wanted` ids of the row reach, or all where there are fewer.
__device__ uint32_t lower_bound_key(uint32_t* maxima, const float* values, int n, int wanted) {
  uint32_t best = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const uint32_t key = order_key(values[i]);
    best = key > best ? key : best;
  }
  maxima[threadIdx.x] = best;
  sort_descending(maxima, kSampleThreads);
  const uint32_t bound = maxima[wanted - 1];
  return bound > kMinusInfinityKey ? bound : kMinusInfinityKey + 1;
}

// pairs[0, wanted), one scan of the row each.
__device__ void select_one_by_one(Word* pairs, const float* values, int n, int first_id, int wanted) {
  Word last = ~Word(0);
  for (int place = 0; place < wanted; ++place) {
    Word best = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      const Word pair = pair_of(values[i], first_id + i);
      if (pair < last && pair > best && pair_key(pair) > kMinusInfinityKey) best = pair;
    }
    last = block_reduce<Word>(best, 0, Larger{});
    if (threadIdx.x == 0) pairs[place] = last;
    if (last == 0) last = 1;  // nothing is left: nothing is below 1
  }
  __syncthreads();
}

__device__ void select_row(SampleEntry* entries, const float* values, const float* raw, int n, int first_id,
                           int wanted) {
  __shared__ Word pairs[kRoom];
  __shared__ uint32_t maxima[kSampleThreads];
  __shared__ int found;
  const uint32_t bound = lower_bound_key(maxima, values, n, wanted);
  for (int i = threadIdx.x; i < kRoom; i += blockDim.x) pairs[i] = 0;
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const Word pair = pair_of(values[i], first_id + i);
    if (pair_key(pair) < bound) continue;
    const int place = atomicAdd(&found, 1);
    if (place < kRoom) pairs[place] = pair;
  }
  __syncthreads();
  if (found > kRoom)
    select_one_by_one(pairs, values, n, first_id, wanted);
  else
    sort_descending(pairs, kRoom);
  for (int place = threadIdx.x; place < wanted; place += blockDim.x) {
    const Word pair = pairs[place];
    const int id = pair_id(pair);
    SampleEntry& entry = entries[place];
    entry.value = pair ? values[id - first_id] : -infinity();
    entry.id = pair ? id : -1;
    entry.raw = pair ? raw[id - first_id] : -infinity();
  }
}

__global__ __launch_bounds__(kSampleThreads) void tops_kernel(SampleEntry* tops, SampleShard shard) {
  const int r = blockIdx.x, top = shard.index[r].top;
  if (top < 0) return;
  select_row(tops + int64_t(top) * kMaxTopLogprobs, raw_row(shard, r), raw_row(shard, r), shard.vocab_local,
             shard.vocab_begin, kMaxTopLogprobs);
}

__global__ __launch_bounds__(kSampleThreads) void candidates_kernel(SampleEntry* candidates, SampleShard shard) {
  const int r = blockIdx.x, place = shard.index[r].candidates;
  if (place < 0) return;
  select_row(candidates + int64_t(place) * kSampleCandidates, z_row(shard, r), raw_row(shard, r), shard.vocab_local,
             shard.vocab_begin, kSampleCandidates);
}

__global__ __launch_bounds__(kSampleThreads) void beam_candidates_kernel(SampleEntry* candidates, SampleShard shard) {
  const int r = blockIdx.x;
  if (!is_beam_row(shard, r)) return;
  select_row(candidates + int64_t(shard.index[r].beam) * kSampleCandidates, z_row(shard, r), raw_row(shard, r),
             shard.vocab_local, shard.vocab_begin, shard.rows[r].num_candidates);
}

}  // namespace

void sample_tops(SampleEntry* tops, const SampleShard& shard, const Stream& stream) {
  tops_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(tops, shard);
  check_launch();
}

void sample_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream) {
  candidates_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(candidates, shard);
  check_launch();
}

void sample_beam_candidates(SampleEntry* candidates, const SampleShard& shard, const Stream& stream) {
  beam_candidates_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(candidates, shard);
  check_launch();
}

}  // namespace trireme::cuda
