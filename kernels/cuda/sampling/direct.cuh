#pragma once
// The passes over a row by one block that keeps none of it: the row is read once per pass, forward and backward in
// turns, so that a pass begins with what the one before left in the L2 cache.

#include <cfloat>

#include "kernels/cuda/sampling/row_kernel.cuh"

namespace trireme::cuda {

inline constexpr int kDirectThreads = kMergeThreads;
inline constexpr int kGatherRoom = 1024;

struct DirectShared {
  SampleRow row;
  Merged merged;
  Word pairs[kGatherRoom];  // gathered ids, by raw logit, then by z
  float raws[kGatherRoom];
  int gathered;
  uint32_t bound;  // order key of what some survivor's score is above by more than float arithmetic can be wrong by
};

// A row and how its logits become z: by counts, then temperature. All ids of the vocabulary are in it, from 0 on.
struct DirectRow {
  const float* raw;
  const uint16_t* counts;  // null: no penalties
  int n;
  bool wide;  // raw may be read four at a time
  const SampleRow* row;
  float temperature;
  TemperatureDivision divide;

  __device__ DirectRow(const SampleShard& shard, int r, const SampleRow& orders)
      : raw(raw_row(shard, r)),
        counts(!is_score(orders) && has_penalties(orders) ? shard.counts + int64_t(orders.slot) * shard.vocab_local
                                                          : nullptr),
        n(shard.vocab_local),
        wide(uintptr_t(raw) % 16 == 0),
        row(&orders),
        temperature(is_greedy(orders) ? 1.0f : orders.temperature),
        divide(temperature) {}

  __device__ float tempered_by_row(float value) const {
    return temperature == 1.0f ? below_infinity(value) : divide(value);
  }
  __device__ float z(float logit, int id) const {
    if (counts) {
      const uint16_t count = counts[id];
      if (count) logit = processed_logit(logit, *row, true, count);
    }
    return tempered_by_row(logit);
  }
  __device__ int quads() const { return (n + 3) / 4; }
  __device__ float4 quad(int q) const {  // behind the n-th -inf
    if (wide && 4 * q + 3 < n) return __ldg(reinterpret_cast<const float4*>(raw) + q);
    float v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = 4 * q + k < n ? raw[4 * q + k] : -infinity();
    return make_float4(v[0], v[1], v[2], v[3]);
  }
};

// function(quad, q) for this thread's quads of ids 4 q, ...; four loads at a time. backward: the last first.
template <bool kBackward, typename Function>
__device__ void for_row_quads(const DirectRow& row, Function&& function) {
  constexpr int kAtOnce = 4;
  const int whole = row.wide ? row.n / 4 : 0;
  const auto quad_of = [&](int p) { return kBackward ? whole - 1 - p : p; };
  const auto load = [&](int p) { return __ldg(reinterpret_cast<const float4*>(row.raw) + quad_of(p)); };
  int p = int(threadIdx.x);
  for (; p + (kAtOnce - 1) * kDirectThreads < whole; p += kAtOnce * kDirectThreads) {
    float4 v[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) v[k] = load(p + k * kDirectThreads);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) function(v[k], quad_of(p + k * kDirectThreads));
  }
  for (; p < whole; p += kDirectThreads) function(load(p), quad_of(p));
  for (int q = whole + int(threadIdx.x); q < row.quads(); q += kDirectThreads) function(row.quad(q), q);
}

// function(value, id) for this thread's values, unordered.
template <typename Function>
__device__ void for_row_values(const DirectRow& row, Function&& function) {
  for_row_quads<false>(row, [&](const float4& v, int q) {
    function(v.x, 4 * q), function(v.y, 4 * q + 1), function(v.z, 4 * q + 2), function(v.w, 4 * q + 3);
  });
}

__device__ inline float direct_max(const DirectRow& row) {
  float best = -infinity();
  for_row_values(row, [&](float value, int) { best = max_or_nan(best, value); });
  return best;
}

__device__ inline float direct_z_max(const DirectRow& row) {
  float best = -infinity();
  for_row_values(row, [&](float value, int id) {
    if (id < row.n) best = fmaxf(best, row.z(value, id));
  });
  return key_float(block_reduce<uint32_t>(order_key(best), 0, Larger{}));
}

__device__ inline int direct_count_above(const DirectRow& row, float logit) {
  int count = 0;
  for_row_values(row, [&](float value, int) { count += value > logit; });
  return block_reduce<int>(count, 0, Sum{});
}

// The mass of what comes before (z_of, id_of) in order.
__device__ inline Word direct_mass_before(const DirectRow& row, float z_max, float z_of, int id_of) {
  Word mass = 0;
  for_row_values(row, [&](float value, int id) {
    if (id >= row.n) return;
    const float z = row.z(value, id);
    if (z > z_of || (z == z_of && id < id_of)) mass += quick_mass(z_max - z);
  });
  return block_sum_of(mass);
}

__device__ inline void gather_id(DirectShared& shared, float value, int id) {
  const int place = atomicAdd(&shared.gathered, 1);
  if (place >= kGatherRoom) return;
  shared.pairs[place] = pair_of_key(order_key(value), id);
  shared.raws[place] = value;
}

// The masses of a row's logits and, kWithZ, of its z, which are its logits divided by the temperature; gathers the ids
// whose logits are at least `least`.
struct DirectMasses {
  Word raw = 0, z = 0;
};
template <bool kWithZ>
__device__ DirectMasses direct_masses(DirectShared& shared, const DirectRow& row, float raw_max, float z_max,
                                      float least) {
  DirectMasses masses;
  for_row_quads<true>(row, [&](const float4& v, int q) {
    masses.raw += quick_mass(raw_max - v.x) + quick_mass(raw_max - v.y);
    masses.raw += quick_mass(raw_max - v.z) + quick_mass(raw_max - v.w);
    if constexpr (kWithZ) {
      masses.z += quick_mass(z_max - row.divide(v.x)) + quick_mass(z_max - row.divide(v.y));
      masses.z += quick_mass(z_max - row.divide(v.z)) + quick_mass(z_max - row.divide(v.w));
    }
    if (fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)) < least) return;
    if (v.x >= least) gather_id(shared, v.x, 4 * q);
    if (v.y >= least) gather_id(shared, v.y, 4 * q + 1);
    if (v.z >= least) gather_id(shared, v.z, 4 * q + 2);
    if (v.w >= least) gather_id(shared, v.w, 4 * q + 3);
  });
  masses.raw = block_sum_of(masses.raw);
  if constexpr (kWithZ) masses.z = block_sum_of(masses.z);
  return masses;
}

__device__ inline Word direct_z_mass(const DirectRow& row, float z_max) {
  Word mass = 0;
  for_row_values(row, [&](float value, int id) {
    if (id < row.n) mass += quick_mass(z_max - row.z(value, id));
  });
  return block_sum_of(mass);
}

// ---- draws

__device__ inline void raise_bound(DirectShared& shared, double score) {
  atomicMax(&shared.bound, order_key(reachable_bound(score_key(score))));
}

// The score of the greatest logit, where that id survives, bounds the draw from below.
__device__ inline void seed_bound(DirectShared& shared, const DirectRow& row, const SampleState& state,
                                  const NoiseKey& noise, float thread_best, float raw_max) {
  const unsigned owners = __ballot_sync(~0u, thread_best == raw_max);
  if (owners == 0) return;
  const int lane = int(threadIdx.x) % 32, owner = int(threadIdx.x) - lane + __ffs(int(owners)) - 1;
  for (int q = owner + lane * kDirectThreads; q < row.quads(); q += 32 * kDirectThreads) {
    const float4 quad = row.quad(q);
    const float v[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (v[k] != raw_max) continue;
      const float z = row.z(v[k], 4 * q + k);
      if (survives(state, z, 4 * q + k)) raise_bound(shared, draw_score(z, noise, 4 * q + k));
    }
  }
}

// What a draw looks at besides survivors.
struct DrawWants {
  bool raw_mass, z_mass;
  float raw_max, z_max;  // z_max: where there is a cut
  float least;           // ids of this logit and above are gathered
};
struct DrawFound {
  Word raw_mass = 0, z_mass = 0;
  BestDraw best;
};

// Above this no id's noise is.
constexpr float kMostNoise = 22.9f;

// What an id needs to reach the bound. Penalties only lower z, so that logit / temperature is an upper bound of it.
struct DrawBound {
  uint32_t key = 0;
  float score = -INFINITY, least_logit = -INFINITY;
  uint32_t most_bits = ~0u;
  __device__ void update(uint32_t new_key, float temperature, float z_most) {
    if (new_key == key) return;
    key = new_key;
    score = key_float(new_key);
    const float least = (score - kMostNoise) * temperature;
    least_logit = least - 1e-5f * fabsf(least);
    const float most = __expf(z_most - score) * 4.3e9f + 1.0f;  // 2^32 and a little
    most_bits = most < 4.29e9f ? uint32_t(most) : ~0u;
  }
};

// One word of noise serves four ids, 64 apart, as in draw_chunk(); from the row's end to its beginning.
__device__ inline DrawFound direct_draw(DirectShared& shared, const DirectRow& row, const SampleState& state,
                                        const NoiseKey& key, const DrawWants& wants) {
  DrawFound found;
  DrawBound bound;
  const float reciprocal = row.divide.reciprocal, z_most = wants.raw_max * reciprocal;
  const int tasks = (row.n + 255) / 256 * 64;
  const auto load = [&](float (&v)[4], int task) {
    const int first = (task >> 6) * 256 + (task & 63);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      v[k] = task >= 0 && first + 64 * k < row.n ? __ldg(row.raw + first + 64 * k) : -infinity();
  };
  int task = tasks - kDirectThreads + int(threadIdx.x);
  float next[4];
  load(next, task);
  for (; task > -kDirectThreads; task -= kDirectThreads) {
    const float v[4] = {next[0], next[1], next[2], next[3]};
    load(next, task - kDirectThreads);
    if (task < 0) continue;
    const int first = (task >> 6) * 256 + (task & 63);
    if (wants.raw_mass)
      found.raw_mass += quick_mass(wants.raw_max - v[0]) + quick_mass(wants.raw_max - v[1]) +
                        quick_mass(wants.raw_max - v[2]) + quick_mass(wants.raw_max - v[3]);
    if (wants.z_mass)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (first + 64 * k < row.n) found.z_mass += quick_mass(wants.z_max - row.z(v[k], first + 64 * k));
    const float most = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
    if (most >= wants.least)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (v[k] >= wants.least) gather_id(shared, v[k], first + 64 * k);
    bound.update(*const_cast<volatile uint32_t*>(&shared.bound), row.temperature, z_most);
    if (!(most >= bound.least_logit) || most == -infinity()) continue;
    const Noise noise = noise_of(key, uint32_t(task));
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t bits = noise.words[k];
      if (bits > bound.most_bits || !may_reach(v[k] * reciprocal, bits, bound.score)) continue;
      const int id = first + 64 * k;
      if (id >= row.n) continue;
      const float z = row.z(v[k], id);
      if (!survives(state, z, id)) continue;
      const double score = double(z) + double(gumbel(bits));
      const long long score_bits = score_key(score);
      if (score_bits < found.best.key || (score_bits == found.best.key && id > found.best.id)) continue;
      found.best.key = score_bits, found.best.id = id;
      raise_bound(shared, score);
    }
  }
  if (wants.raw_mass) found.raw_mass = block_sum_of(found.raw_mass);
  if (wants.z_mass) found.z_mass = block_sum_of(found.z_mass);
  found.best = block_best(found.best);
  return found;
}

}  // namespace trireme::cuda
