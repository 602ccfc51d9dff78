// What every rank computes alike from the gathered parts of all shards.

#include "kernels/cuda/sampling/merge.cuh"

namespace trireme::cuda {
namespace {

__global__ __launch_bounds__(kMergeThreads) void resolve_kernel(SampleShard shard, Gathered heads, Gathered tops,
                                                                Gathered candidates) {
  __shared__ Merged merged;
  resolve_row(shard, blockIdx.x, heads, tops, candidates, merged);
}

__global__ __launch_bounds__(kMergeThreads) void resolve_open_kernel(SampleShard shard, Gathered stats,
                                                                     Gathered candidates) {
  const int r = blockIdx.x;
  if (!is_pending(shard, r)) return;
  if (threadIdx.x == 0) {
    const SampleStats sum = sum_stats(shard, stats, shard.index[r].open);
    shard.states[r].mass = sum.mass;
    shard.states[r].count = sum.count;
  }
  __shared__ Merged merged;
  __syncthreads();
  draw_from_candidates(shard, r, candidates, merged);
}

__device__ int row_of_thread() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

__global__ void search_begin_kernel(SampleShard shard, SampleSearch search, Gathered stats) {
  const int r = row_of_thread();
  if (r >= shard.num_rows || !is_pending(shard, r)) return;
  const SampleRow& row = shard.rows[r];
  SampleState& state = shard.states[r];
  state.searching = takes_part(row, search, shard.vocab_size);
  if (!state.searching) return;
  const SampleStats sum = sum_stats(shard, stats, shard.index[r].open);
  state.prefix = 0;
  state.before = 0;
  if (search == SampleSearch::count) state.need = uint64_t(row.top_k) < sum.count ? uint64_t(row.top_k) : sum.count;
  if (search == SampleSearch::mass) state.need = needed_mass(row.top_p, sum.mass);
  if (search == SampleSearch::typical) {
    state.need = needed_mass(row.typical_p, sum.mass);
    state.center = typical_center(sum.moment, sum.mass);
  }
}

// The id of this shard's `quota`-th survivor whose key is the cut's: it and those before it are kept.
__device__ int last_kept_tie(const SampleShard& shard, int r, uint32_t cut_key, Word quota) {
  __shared__ int warp_counts[32], kept;
  const float* z = z_row(shard, r);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) kept = -1;
  Word seen = 0;
  for (int begin = 0; begin < shard.vocab_local && seen < quota; begin += blockDim.x) {
    const int i = begin + threadIdx.x;
    const bool tie = i < shard.vocab_local && order_key(z[i]) == cut_key;
    const unsigned ballot = __ballot_sync(0xffffffffu, tie);
    if (lane == 0) warp_counts[warp] = __popc(ballot);
    __syncthreads();
    int before = __popc(ballot & ((1u << lane) - 1)), all = 0;
    for (int w = 0; w < int(blockDim.x) / 32; ++w) {
      if (w < warp) before += warp_counts[w];
      all += warp_counts[w];
    }
    if (tie && seen + before + 1 == quota) kept = shard.vocab_begin + i;
    seen += all;
    __syncthreads();
  }
  __syncthreads();
  return kept;
}

__device__ void set_cut(const SampleShard& shard, int r, const SampleState& state, SampleSearch search, Gathered bins,
                        int bin) {
  if (search == SampleSearch::typical) {
    if (threadIdx.x == 0) shard.states[r].spread = bits_float(~state.prefix);
    return;
  }
  const Word unit = tie_unit(state, search);
  const int64_t first = int64_t(shard.index[r].open) * kSampleBins + bin;
  Word quota = kept_ties(state, unit);
  for (int s = 0; s < shard.shard; ++s) {
    const Word ties = *gathered_at<Word>(bins, s, first) / unit;
    quota -= ties < quota ? ties : quota;
  }
  const Word mine = *gathered_at<Word>(bins, shard.shard, first) / unit;
  const int cut_id = last_kept_tie(shard, r, state.prefix, quota < mine ? quota : mine);
  if (threadIdx.x != 0) return;
  shard.states[r].cut_key = state.prefix;
  shard.states[r].cut_id = cut_id;
}

// Thread t looks at bins 2047 - 2t and 2046 - 2t: the best keys first.
__global__ __launch_bounds__(kSampleThreads) void search_step_kernel(SampleShard shard, SampleSearch search, int pass,
                                                                     Gathered bins) {
  __shared__ Word sums[kSampleThreads];
  __shared__ Word chosen_before;
  static_assert(kSampleBins == 2 * kSampleThreads);
  const int r = blockIdx.x, t = threadIdx.x;
  if (!is_pending(shard, r) || !shard.states[r].searching) return;
  SampleState state = shard.states[r];
  const int upper = kSampleBins - 1 - 2 * t;
  Word high = 0, low = 0;
  for (int s = 0; s < shard.num_shards; ++s) {
    const Word* row_bins = gathered_at<Word>(bins, s, int64_t(shard.index[r].open) * kSampleBins);
    high += row_bins[upper];
    low += row_bins[upper - 1];
  }
  sums[t] = high + low;
  __syncthreads();
  for (int step = 1; step < kSampleThreads; step *= 2) {
    const Word before = t >= step ? sums[t - step] : 0;
    __syncthreads();
    sums[t] += before;
    __syncthreads();
  }
  const Word before = state.before + sums[t] - high - low;
  const int bin = before + high >= state.need ? upper : before + high + low >= state.need ? upper - 1 : -1;
  if (t == 0) chosen_before = state.before;
  const int chosen = block_reduce<int>(bin, 0, Larger{});
  if (bin >= 0 && bin == chosen) chosen_before = bin == upper ? before : before + high;
  __syncthreads();
  const SearchDigit digit = search_digit(pass);
  state.before = chosen_before;
  state.prefix = state.prefix << (digit.above - digit.shift) | uint32_t(chosen);
  const bool last = pass == kSearchPasses - 1;
  if (t == 0) {
    shard.states[r].before = state.before;
    shard.states[r].prefix = state.prefix;
    shard.states[r].searching = !last;
  }
  if (last) set_cut(shard, r, state, search, bins, chosen);
}

__global__ __launch_bounds__(32) void finish_kernel(SampleShard shard, Gathered best) {
  const int r = blockIdx.x;
  if (!is_pending(shard, r)) return;
  const SampleBest* winner = nullptr;
  for (int s = 0; s < shard.num_shards; ++s) {
    const SampleBest* one = gathered_at<SampleBest>(best, s, shard.index[r].open);
    if (one->id >= 0 && (!winner || one->score > winner->score)) winner = one;
  }
  answer_with(shard, r, winner ? winner->id : -1, winner ? winner->raw : 0.0f);
}

__global__ void finish_rank_kernel(SampleShard shard, Gathered greater) {
  const int r = row_of_thread();
  if (r >= shard.num_rows || shard.index[r].rank < 0 || shard.answers[r].id < 0) return;
  int rank = 1;
  for (int s = 0; s < shard.num_shards; ++s) rank += *gathered_at<int32_t>(greater, s, shard.index[r].rank);
  shard.answers[r].rank = rank;
}

__global__ __launch_bounds__(kMergeThreads) void merge_candidates_kernel(SampleEntry* out, SampleShard shard,
                                                                         Gathered candidates) {
  __shared__ Merged merged;
  const int r = blockIdx.x, i = threadIdx.x;
  if (!is_beam_row(shard, r)) return;
  const int wanted = shard.rows[r].num_candidates;
  const int64_t first = int64_t(shard.index[r].beam) * kSampleCandidates;
  merge(merged, candidates, first, wanted, shard.num_shards, wanted);
  if (i == 0) shard.answers[r].candidate_count = merged.size;
  if (i >= merged.size) return;
  const SampleEntry& entry = merged.entries[i];
  out[first + i] = {entry.value, entry.id, logprob_of(entry.raw, shard.states[r])};
}

__global__ void ids_kernel(int32_t* ids, SampleShard shard) {
  const int r = row_of_thread();
  if (r < shard.num_rows) ids[r] = draws(shard.rows[r]) ? shard.answers[r].id : -1;
}

constexpr int kRowThreads = 128;
unsigned row_blocks(const SampleShard& shard) { return grid_size(ceil_div(shard.num_rows, kRowThreads)); }

}  // namespace

void sample_resolve(const SampleShard& shard, Gathered heads, Gathered tops, Gathered candidates,
                    const Stream& stream) {
  if (shard.num_rows == 0) return;
  resolve_kernel<<<grid_size(shard.num_rows), kMergeThreads, 0, stream.get()>>>(shard, heads, tops, candidates);
  check_launch();
}

void sample_resolve_open(const SampleShard& shard, Gathered stats, Gathered candidates, const Stream& stream) {
  resolve_open_kernel<<<grid_size(shard.num_rows), kMergeThreads, 0, stream.get()>>>(shard, stats, candidates);
  check_launch();
}

void sample_search_begin(const SampleShard& shard, SampleSearch search, Gathered stats, const Stream& stream) {
  search_begin_kernel<<<row_blocks(shard), kRowThreads, 0, stream.get()>>>(shard, search, stats);
  check_launch();
}

void sample_search_step(const SampleShard& shard, SampleSearch search, int pass, Gathered bins, const Stream& stream) {
  search_step_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(shard, search, pass, bins);
  check_launch();
}

void sample_finish(const SampleShard& shard, Gathered best, const Stream& stream) {
  finish_kernel<<<grid_size(shard.num_rows), 32, 0, stream.get()>>>(shard, best);
  check_launch();
}

void sample_finish_rank(const SampleShard& shard, Gathered greater, const Stream& stream) {
  finish_rank_kernel<<<row_blocks(shard), kRowThreads, 0, stream.get()>>>(shard, greater);
  check_launch();
}

void sample_merge_candidates(SampleEntry* merged, const SampleShard& shard, Gathered candidates, const Stream& stream) {
  merge_candidates_kernel<<<grid_size(shard.num_rows), kMergeThreads, 0, stream.get()>>>(merged, shard, candidates);
  check_launch();
}

void sample_ids(int32_t* ids, const SampleShard& shard, const Stream& stream) {
  ids_kernel<<<row_blocks(shard), kRowThreads, 0, stream.get()>>>(ids, shard);
  check_launch();
}

}  // namespace trireme::cuda
