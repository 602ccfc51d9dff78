#pragma once
// The passes over a chunk in shared memory that every row needs: maximum, masses, processors, the best draw.

#include "kernels/cuda/sampling/row.cuh"

namespace trireme::cuda {

inline constexpr uint32_t kNonFinite = ~0u;  // instead of a key

// mass_below() of a distance >= 0, +inf or NaN, in fewer instructions: below exp(-31.5) nothing is left, so that the
// scale is added to the exponent and no shift reaches 64.
__device__ inline Word quick_mass(float distance) {
  float shifted;
  const float p = split_exp(fmaxf(-distance, -31.5f), shifted);
  const uint32_t bits = float_bits(p) + (float_bits(shifted) << 23);
  const uint32_t mantissa = ((bits << 7) & 0x3fffffffu) | 0x40000000u;  // 24 bits, their highest at bit 30
  return (Word(mantissa) << 32) >> (144 - int(bits >> 23));
}

// The greatest of this thread's values; NaN where one is NaN.
__device__ inline float thread_max(const RowBlock& block) {
  float best = -infinity();
  block.for_values([&](float value, int) { best = max_or_nan(best, value); });
  return best;
}

// kNonFinite: a NaN or +inf is among the row's values.
__device__ inline uint32_t raw_max_key(RowBlock& block, float thread_best) {
  const bool bad = !(thread_best < infinity());
  return row_max(block, bad ? kNonFinite : order_key(thread_best));
}

__device__ inline Word thread_mass(const RowBlock& block, float maximum) {
  Word mass = 0;
#pragma unroll 2
  for (int q = threadIdx.x; q < block.quads(); q += kRowThreads) {
    const float4 v = reinterpret_cast<const float4*>(block.x())[q];
    mass += quick_mass(maximum - v.x) + quick_mass(maximum - v.y);
    mass += quick_mass(maximum - v.z) + quick_mass(maximum - v.w);
  }
  return mass;
}

// The thread's lowest id whose value is the maximum; INT32_MAX: it has none.
__device__ inline int thread_first(const RowBlock& block, float thread_best, float maximum) {
  int first = INT32_MAX;
  if (thread_best != maximum) return first;
  block.for_values([&](float value, int i) {
    if (value == maximum && first == INT32_MAX) first = block.first_id() + i;
  });
  return first;
}

// Bias and suppressed ids. Ids of the bias are distinct.
__device__ inline void add_chunk_lists(const RowBlock& block, const SampleShard& shard) {
  const SampleRow& row = block.row();
  for (int i = threadIdx.x; i < row.bias_count; i += kRowThreads) {
    const int local = shard.bias_ids[row.bias_begin + i] - block.first_id();
    if (local >= 0 && local < block.n()) block.x()[local] += shard.bias_values[row.bias_begin + i];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < row.suppress_count; i += kRowThreads) {
    const int local = shard.suppressed[row.suppress_begin + i] - block.first_id();
    if (local >= 0 && local < block.n()) block.x()[local] = -infinity();
  }
  __syncthreads();
}

// Division by a row's temperature, the bits of quotient(): a product with the reciprocal, corrected twice by the exact
// remainder. Where a step might leave the normal numbers the division itself is done.
struct TemperatureDivision {
  float divisor, reciprocal;
  bool quick;
  __device__ explicit TemperatureDivision(float temperature)
      : divisor(temperature),
        reciprocal(quotient(1.0f, temperature)),
        quick(temperature >= 1e-6f && temperature < 1e6f) {}
  __device__ float operator()(float value) const {
    const float size = fabsf(value);
    if (!(quick && size > 1e-15f && size < 1e15f)) return tempered(value, divisor);
    float q = product(value, reciprocal);
    q = fused(fused(-q, divisor, value), reciprocal, q);
    return fused(fused(-q, divisor, value), reciprocal, q);
  }
};

__device__ inline float below_infinity(float z) {  // tempered() by 1
  const float largest = bits_float(0x7f7fffffu);
  return z < largest ? z : largest;
}

// x becomes z. Returns the thread's greatest z.
template <bool kLists>
__device__ float process_chunk(RowBlock& block, const SampleShard& shard) {
  const SampleRow& row = block.row();
  if (has_lists(row)) add_chunk_lists(block, shard);
  const bool penalties = has_penalties(row), staged = penalties && copies_counts<kLists>(shard, block);
  const uint16_t* counts = staged      ? block.shared().scratch.counts
                           : penalties ? shard.counts + int64_t(row.slot) * shard.vocab_local + block.begin()
                                       : nullptr;
  const uint32_t* mask = row.mask_row < 0 ? nullptr : shard.masks + int64_t(row.mask_row) * shard.mask_words;
  const float temperature = is_greedy(row) ? 1.0f : row.temperature;
  const TemperatureDivision divide(temperature);
  float best = -infinity();
  for (int q = threadIdx.x; q < block.quads(); q += kRowThreads) {
    float4* quad = reinterpret_cast<float4*>(block.x()) + q;
    const float4 given = *quad;
    float v[4] = {given.x, given.y, given.z, given.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int i = 4 * q + k;
      if (i >= block.n()) continue;
      if (penalties && counts[i]) v[k] = processed_logit(v[k], row, true, counts[i]);
      v[k] = temperature == 1.0f ? below_infinity(v[k]) : divide(v[k]);
      const uint32_t id = uint32_t(block.first_id() + i);
      if (mask && !(mask[id >> 5] >> (id & 31) & 1)) v[k] = -infinity();
      best = fmaxf(best, v[k]);
    }
    *quad = make_float4(v[0], v[1], v[2], v[3]);
  }
  __syncthreads();
  return best;
}

struct Noise {
  uint32_t words[4];  // of ids 256 g + l, + 64, + 128, + 192
};
__device__ inline Noise noise_of(const NoiseKey& key, uint32_t noise_block) {
  uint32_t a = noise_block, b = key.position, c = key.choice, d = 0;
#pragma unroll
  for (int round = 0; round < kPhiloxRounds; ++round) philox_round(a, b, c, d, philox_key(key.seed, round));
  return {{a, b, c, d}};
}

// Noise is at most -log(tail), tail = (bits + 1/2) / 2^32: an id whose tail is above exp(z - score) cannot reach that
// score. `bound` is the score less more than what float arithmetic can be wrong by.
__device__ inline bool may_reach(float z, uint32_t bits, float bound) {
  const float tail = fused(float(bits), 2.32830644e-10f, 1.16415322e-10f);
  return tail <= __expf(z - bound);
}
__device__ inline float reachable_bound(long long best_key) {
  if (best_key == kNoScore) return -infinity();
  const float score = float(key_score(best_key));
  return score - (2e-3f + 2e-6f * fabsf(score));
}

// One word of noise serves four ids, 64 apart: task t looks at the ids of block t of the chunk's groups of 256.
template <bool kCut>
__device__ void try_draws(BestDraw& best, const RowBlock& block, const SampleState& state, const NoiseKey& key,
                          int task, float bound) {
  const int group = (block.first_id() >> 8) + task / 64, lane = task % 64;
  const int first = group * 256 + lane;
  float z[4];
  bool alive = false;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int i = first + 64 * k - block.first_id();
    z[k] = i >= 0 && i < block.n() ? block.x()[i] : -infinity();
    const bool kept = kCut ? survives(state, z[k], first + 64 * k) : z[k] > -infinity();
    if (!kept) z[k] = -infinity();
    alive |= kept;
  }
  if (!alive) return;
  const Noise noise = noise_of(key, uint32_t(group) * 64 + uint32_t(lane));
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (z[k] > -infinity() && may_reach(z[k], noise.words[k], bound))
      best.offer(score_key(double(z[k]) + double(gumbel(noise.words[k]))), first + 64 * k);
}

template <bool kCut>
__device__ BestDraw draw_chunk(const RowBlock& block, const SampleState& state, const NoiseKey& key) {
  const int groups = block.n() == 0 ? 0 : ((block.first_id() + block.n() - 1) >> 8) - (block.first_id() >> 8) + 1;
  BestDraw best;
  int task = threadIdx.x;
  if (task < 64 * groups) try_draws<kCut>(best, block, state, key, task, -infinity());
  const float bound = reachable_bound(block_reduce<long long>(best.key, kNoScore, Larger{}));
  for (task += kRowThreads; task < 64 * groups; task += kRowThreads)
    try_draws<kCut>(best, block, state, key, task, bound);
  return best;
}

}  // namespace trireme::cuda
