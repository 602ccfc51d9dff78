// One shard's work on its rows: everything that reads all logits. One block per row; what is to be done, and
// whether, is read from the row's orders and state, so that a launch depends on the number of rows only.

#include "kernels/cuda/sampling/block.cuh"

namespace trireme::cuda {
namespace {

// Bias and suppressed ids, into the row's scratch. Ids of the bias are distinct.
__device__ void add_lists(float* z, const SampleRow& row, const SampleShard& shard) {
  __syncthreads();
  for (int i = threadIdx.x; i < row.bias_count; i += blockDim.x) {
    const int local = shard.bias_ids[row.bias_begin + i] - shard.vocab_begin;
    if (local >= 0 && local < shard.vocab_local) z[local] += shard.bias_values[row.bias_begin + i];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < row.suppress_count; i += blockDim.x) {
    const int local = shard.suppressed[row.suppress_begin + i] - shard.vocab_begin;
    if (local >= 0 && local < shard.vocab_local) z[local] = -infinity();
  }
  __syncthreads();
}

// z of id vocab_begin + i.
__device__ float process(float logit, int i, const SampleRow& row, const SampleShard& shard, float temperature) {
  float value = logit;
  if (has_penalties(row)) {
    const uint16_t count = shard.counts[int64_t(row.slot) * shard.vocab_local + i];
    value = processed_logit(value, row, true, count);
  }
  value = tempered(value, temperature);
  if (row.mask_row < 0) return value;
  const uint32_t id = uint32_t(shard.vocab_begin + i);
  const uint32_t word = shard.masks[int64_t(row.mask_row) * shard.mask_words + (id >> 5)];
  return word >> (id & 31) & 1 ? value : -infinity();
}

// Writes z where a cut needs it, finds its maximum, and the best id where there is no cut.
__device__ void find_best(SampleHead& head, const SampleShard& shard, int r) {
  const SampleRow& row = shard.rows[r];
  const float* source = raw_row(shard, r);
  if (has_lists(row)) {
    float* z = z_row(shard, r);
    for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) z[i] = source[i];
    add_lists(z, row, shard);
    source = z;
  }
  const bool cut = has_cut(row, shard.vocab_size), greedy = is_greedy(row);
  const float temperature = greedy ? 1.0f : row.temperature;
  const NoiseKey noise = noise_key(row, shard);
  uint32_t z_max = 0;
  BestDraw mine;
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) {
    const float z = process(source[i], i, row, shard, temperature);
    const uint32_t key = order_key(z);
    if (cut) z_row(shard, r)[i] = z;
    z_max = key > z_max ? key : z_max;
    if (cut || key <= kMinusInfinityKey) continue;
    const int id = shard.vocab_begin + i;
    mine.offer(greedy ? (long long)(key) : score_key(draw_score(z, noise, id)), id);
  }
  z_max = block_reduce<uint32_t>(z_max, 0, Larger{});
  if (z_max > kMinusInfinityKey) head.z_max = key_float(z_max);
  const BestDraw best = block_best(mine);
  if (best.id == INT32_MAX) return;
  head.best_id = best.id;
  head.best_score = greedy ? double(head.z_max) : key_score(best.key);
}

__global__ __launch_bounds__(kSampleThreads) void heads_kernel(SampleHead* heads, SampleShard shard) {
  const int r = blockIdx.x;
  const SampleRow& row = shard.rows[r];
  const float* raw = raw_row(shard, r);
  uint32_t key = 0;
  int bad = 0;
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) {
    const uint32_t bits = float_bits(raw[i]);
    bad |= (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u;
    const uint32_t own = order_key(raw[i]);
    key = own > key ? own : key;
  }
  key = block_reduce<uint32_t>(key, 0, Larger{});
  bad = __syncthreads_or(bad);
  SampleHead head{};
  head.raw_max = head.z_max = head.best_raw = -infinity();
  head.best_id = -1;
  head.non_finite = bad != 0;
  if (!bad && shard.vocab_local > 0) {
    head.raw_max = key_float(key);
    Word mass = 0;
    for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) mass += mass_below(head.raw_max - raw[i]);
    head.raw_mass = block_sum_of(mass);
    if (draws(row)) {
      find_best(head, shard, r);
    } else if (is_score(row) && row.target >= shard.vocab_begin && row.target < shard.vocab_begin + shard.vocab_local) {
      head.best_id = row.target;
    }
    if (head.best_id >= 0) head.best_raw = raw[head.best_id - shard.vocab_begin];
  }
  if (threadIdx.x == 0) heads[r] = head;
}

__global__ __launch_bounds__(kSampleThreads) void stats_kernel(SampleStats* stats, SampleShard shard,
                                                               bool for_typical) {
  const int r = blockIdx.x;
  if (!is_pending(shard, r)) return;
  const SampleState state = shard.states[r];
  const float* z = z_row(shard, r);
  const float max_distance = for_typical ? state.max_distance : infinity();
  Word mass = 0, moment = 0, count = 0;
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) {
    const float distance = state.z_max - z[i];
    if (!survives_value(state, order_key(z[i]), shard.vocab_begin + i) || !(distance <= max_distance)) continue;
    mass += mass_below(distance);
    if (for_typical && distance < 100.0f) moment += moment_mass(distance);
    ++count;
  }
  mass = block_sum_of(mass);
  moment = block_sum_of(moment);
  count = block_sum_of(count);
  if (threadIdx.x == 0) stats[shard.index[r].open] = {mass, moment, count};
}

__global__ __launch_bounds__(kSampleThreads) void histogram_kernel(Word* bins, SampleShard shard, SampleSearch search,
                                                                   int pass) {
  __shared__ Word row_bins[kSampleBins];
  const int r = blockIdx.x;
  if (!is_pending(shard, r) || !shard.states[r].searching) return;
  const SampleState state = shard.states[r];
  const SearchDigit digit = search_digit(pass);
  const float* z = z_row(shard, r);
  const float max_distance = search == SampleSearch::typical ? state.max_distance : infinity();
  for (int bin = threadIdx.x; bin < kSampleBins; bin += blockDim.x) row_bins[bin] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) {
    const float distance = state.z_max - z[i];
    const uint32_t key = search_key(state, search, z[i]);
    if (!in_prefix(key, digit, state.prefix) || !(distance <= max_distance)) continue;
    if (!survives_value(state, order_key(z[i]), shard.vocab_begin + i)) continue;
    const Word weight = search == SampleSearch::count ? 1 : mass_below(distance);
    if (weight) atomicAdd(&row_bins[(key >> digit.shift) & digit.mask], weight);
  }
  __syncthreads();
  Word* out = bins + int64_t(shard.index[r].open) * kSampleBins;
  for (int bin = threadIdx.x; bin < kSampleBins; bin += blockDim.x) out[bin] = row_bins[bin];
}

__global__ __launch_bounds__(kSampleThreads) void draw_kernel(SampleBest* best, SampleShard shard) {
  const int r = blockIdx.x;
  if (!is_pending(shard, r)) return;
  const SampleState state = shard.states[r];
  const float* z = z_row(shard, r);
  const NoiseKey noise = noise_key(shard.rows[r], shard);
  BestDraw mine;
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) {
    const int id = shard.vocab_begin + i;
    if (survives(state, z[i], id)) mine.offer(score_key(draw_score(z[i], noise, id)), id);
  }
  const BestDraw found = block_best(mine);
  if (threadIdx.x != 0) return;
  SampleBest& out = best[shard.index[r].open];
  const bool any = found.id != INT32_MAX;
  out.score = any ? key_score(found.key) : 0;
  out.id = any ? found.id : -1;
  out.raw = any ? raw_row(shard, r)[found.id - shard.vocab_begin] : 0.0f;
}

__global__ __launch_bounds__(kSampleThreads) void rank_kernel(int32_t* greater, SampleShard shard) {
  const int r = blockIdx.x;
  if (shard.index[r].rank < 0) return;
  const bool drawn = shard.answers[r].id >= 0;
  const uint32_t key = order_key(shard.states[r].drawn_raw);
  const float* raw = raw_row(shard, r);
  int count = 0;
  if (drawn)
    for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) count += order_key(raw[i]) > key;
  count = block_reduce<int>(count, 0, Sum{});
  if (threadIdx.x == 0) greater[shard.index[r].rank] = count;
}

__global__ __launch_bounds__(kSampleThreads) void beam_masses_kernel(Word* masses, SampleShard shard) {
  const int r = blockIdx.x;
  if (!is_beam_row(shard, r)) return;
  const float raw_max = shard.states[r].raw_max;
  const float* raw = raw_row(shard, r);
  Word mass = 0;
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) mass += mass_below(raw_max - raw[i]);
  mass = block_sum_of(mass);
  if (threadIdx.x == 0) masses[shard.index[r].beam] = mass;
}

__global__ __launch_bounds__(kSampleThreads) void beam_values_kernel(SampleShard shard, Gathered masses) {
  const int r = blockIdx.x;
  if (!is_beam_row(shard, r)) return;
  const SampleRow& row = shard.rows[r];
  SampleState state = shard.states[r];
  state.log_sum = beam_log_sum(masses, shard.num_shards, shard.index[r].beam);
  if (threadIdx.x == 0) shard.states[r].log_sum = state.log_sum;
  const float* raw = raw_row(shard, r);
  float* z = z_row(shard, r);
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) z[i] = logprob_of(raw[i], state);
  if (!is_processed(row)) return;
  add_lists(z, row, shard);
  for (int i = threadIdx.x; i < shard.vocab_local; i += blockDim.x) z[i] = process(z[i], i, row, shard, 1.0f);
}

}  // namespace

void sample_heads(SampleHead* heads, const SampleShard& shard, const Stream& stream) {
  if (shard.num_rows == 0) return;
  heads_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(heads, shard);
  check_launch();
}

void sample_stats(SampleStats* stats, const SampleShard& shard, bool for_typical, const Stream& stream) {
  stats_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(stats, shard, for_typical);
  check_launch();
}

void sample_histogram(uint64_t* bins, const SampleShard& shard, SampleSearch search, int pass, const Stream& stream) {
  histogram_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(reinterpret_cast<Word*>(bins), shard,
                                                                                   search, pass);
  check_launch();
}

void sample_draw(SampleBest* best, const SampleShard& shard, const Stream& stream) {
  draw_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(best, shard);
  check_launch();
}

void sample_rank(int32_t* greater, const SampleShard& shard, const Stream& stream) {
  rank_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(greater, shard);
  check_launch();
}

void sample_beam_masses(uint64_t* masses, const SampleShard& shard, const Stream& stream) {
  beam_masses_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(reinterpret_cast<Word*>(masses),
                                                                                     shard);
  check_launch();
}

void sample_beam_values(const SampleShard& shard, Gathered masses, const Stream& stream) {
  beam_values_kernel<<<grid_size(shard.num_rows), kSampleThreads, 0, stream.get()>>>(shard, masses);
  check_launch();
}

}  // namespace trireme::cuda
