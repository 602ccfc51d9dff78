#pragma GCC optimize("O3")  // these loops are written for the vectoriser

#include "kernels/cpu/sample_vector.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "kernels/cpu/instruction_set.h"

namespace trireme::cpu {
namespace {

constexpr int64_t kChunk = 256;  // ids looked at together; a group of the noise

#define BODY __attribute__((always_inline)) inline

BODY uint32_t chunk_max(const float* x, int64_t n, uint32_t& non_finite) {
  uint32_t best = 0, bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t key = order_key(x[i]);
    best = key > best ? key : best;
    bad |= (float_bits(x[i]) & 0x7fffffffu) > 0x7f800000u || float_bits(x[i]) == 0x7f800000u ? 1u : 0u;
  }
  non_finite |= bad;
  return best;
}

BODY RowScan scan_row_body(const float* x, int64_t n) {
  RowScan scan;
  uint32_t bad = 0;
  int64_t best_chunk = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const uint32_t key = n - begin >= kChunk ? chunk_max(x + begin, kChunk, bad) : chunk_max(x + begin, n - begin, bad);
    if (key <= scan.key) continue;
    scan.key = key;
    best_chunk = begin;
  }
  scan.non_finite = bad != 0;
  if (n == 0) return scan;
  scan.index = best_chunk;
  while (order_key(x[scan.index]) != scan.key) ++scan.index;
  return scan;
}

BODY uint64_t mass_sum_body(const float* x, int64_t n, float maximum) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += mass_below(maximum - x[i]);
  return sum;
}

BODY void process_row_body(float* z, const float* x, int64_t n, const SampleRow& row, const uint16_t* counts,
                           float temperature) {
  const SampleRow orders = row;  // so that stores to z cannot change it
  if (counts) {
    for (int64_t i = 0; i < n; ++i) z[i] = tempered(processed_logit(x[i], orders, true, counts[i]), temperature);
  } else {
    for (int64_t i = 0; i < n; ++i) z[i] = tempered(x[i], temperature);
  }
}

BODY void log_probabilities_body(float* z, const float* x, int64_t n, const SampleState& given) {
  const SampleState state = given;  // so that stores to z cannot change it
  for (int64_t i = 0; i < n; ++i) z[i] = logprob_of(x[i], state);
}

// All bits set where the id has survived so far.
BODY uint64_t kept_mask(const SampleState& state, float z, int32_t id, float max_distance) {
  const float distance = state.z_max - z;
  const uint32_t key = order_key(z);
  const bool value = (key > state.cut_key) | ((key == state.cut_key) & (id <= state.cut_id));
  return value & (distance <= max_distance) ? ~uint64_t(0) : 0;
}

BODY SampleStats survivor_stats_body(const float* z, int64_t n, int32_t first_id, const SampleState& given,
                                     bool for_typical) {
  const SampleState state = given;
  SampleStats stats{0, 0, 0};
  if (!for_typical) {
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t kept = kept_mask(state, z[i], first_id + int32_t(i), infinity());
      stats.mass += mass_below(state.z_max - z[i]) & kept;
      stats.count += kept & 1;
    }
    return stats;
  }
  for (int64_t i = 0; i < n; ++i) {
    const float distance = state.z_max - z[i];
    const float e = rule_exp(-distance);
    const float weighted = product(e, choose(distance < 100.0f, distance, 0.0f));
    const uint64_t kept = kept_mask(state, z[i], first_id + int32_t(i), state.max_distance);
    stats.mass += fixed_mass(e) & kept;
    stats.moment += fixed_mass(weighted) & kept;
    stats.count += kept & 1;
  }
  return stats;
}

BODY void add_chunk(uint64_t* bins, const float* z, int64_t n, int32_t first_id, const SampleState& state,
                    SampleSearch search, const SearchDigit& digit, float max_distance) {
  uint32_t keys[kChunk];
  uint64_t weights[kChunk];
  for (int64_t i = 0; i < n; ++i) keys[i] = search_key(state, search, z[i]);
  if (digit.above < 32) {  // later passes: most chunks have nothing to add
    uint32_t hits = 0;
    for (int64_t i = 0; i < n; ++i) hits += keys[i] >> digit.above == state.prefix ? 1u : 0u;
    if (hits == 0) return;
  }
  if (search == SampleSearch::count) {
    for (int64_t i = 0; i < n; ++i) weights[i] = kept_mask(state, z[i], first_id + int32_t(i), max_distance) & 1;
  } else {
    for (int64_t i = 0; i < n; ++i)
      weights[i] = mass_below(state.z_max - z[i]) & kept_mask(state, z[i], first_id + int32_t(i), max_distance);
  }
  for (int64_t i = 0; i < n; ++i)
    if (in_prefix(keys[i], digit, state.prefix)) bins[(keys[i] >> digit.shift) & digit.mask] += weights[i];
}

BODY void add_to_bins_body(uint64_t* bins, const float* z, int64_t n, int32_t first_id, const SampleState& given,
                           SampleSearch search, int pass) {
  const SampleState state = given;
  const SearchDigit digit = search_digit(pass);
  const float max_distance = search == SampleSearch::typical ? state.max_distance : infinity();
  for (int64_t begin = 0; begin < n; begin += kChunk)
    add_chunk(bins, z + begin, std::min(kChunk, n - begin), first_id + int32_t(begin), state, search, digit,
              max_distance);
}

// The noise words of one group of 256 ids.
BODY void noise_words(uint32_t* words, int32_t group, const NoiseKey& key) {
  uint32_t a[64], b[64], c[64], d[64];
  for (int lane = 0; lane < 64; ++lane) {
    a[lane] = uint32_t(group) * 64 + uint32_t(lane);
    b[lane] = key.position;
    c[lane] = key.choice;
    d[lane] = 0;
  }
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const PhiloxKey round_key = philox_key(key.seed, round);
    for (int lane = 0; lane < 64; ++lane) philox_round(a[lane], b[lane], c[lane], d[lane], round_key);
  }
  for (int lane = 0; lane < 64; ++lane) {
    words[lane] = a[lane];
    words[64 + lane] = b[lane];
    words[128 + lane] = c[lane];
    words[192 + lane] = d[lane];
  }
}

// Order of finite doubles as int64, for an integer maximum.
BODY int64_t score_key(double score) {
  const int64_t bits = __builtin_bit_cast(int64_t, score);
  return bits ^ int64_t(uint64_t(bits >> 63) >> 1);
}
BODY double key_score(int64_t key) { return __builtin_bit_cast(double, key ^ int64_t(uint64_t(key >> 63) >> 1)); }

constexpr int64_t kNoScore = INT64_MIN;

struct DrawChunk {
  const float* z;      // of id `begin`
  int32_t begin, end;  // ids, within one group of 256
};

BODY int64_t dense_keys(int64_t* keys, const DrawChunk& chunk, const uint8_t* kept, const NoiseKey& key) {
  uint32_t words[kChunk];
  noise_words(words, chunk.begin >> 8, key);
  const uint32_t* bits = words + (chunk.begin & 255);
  const int n = chunk.end - chunk.begin;
  float noise[kChunk];
  for (int i = 0; i < n; ++i) noise[i] = gumbel(bits[i]);
  for (int i = 0; i < n; ++i) {
    const int64_t score = score_key(double(chunk.z[i]) + double(noise[i]));
    const int64_t mask = -int64_t(kept[i]);
    keys[i] = (score & mask) | (kNoScore & ~mask);
  }
  int64_t best = kNoScore;
  for (int i = 0; i < n; ++i) best = keys[i] > best ? keys[i] : best;
  return best;
}

BODY int64_t sparse_keys(int64_t* keys, const DrawChunk& chunk, const uint8_t* kept, const NoiseKey& key) {
  int64_t best = kNoScore;
  for (int i = 0; i < chunk.end - chunk.begin; ++i) {
    keys[i] = kept[i] ? score_key(draw_score(chunk.z[i], key, chunk.begin + i)) : kNoScore;
    best = std::max(best, keys[i]);
  }
  return best;
}

BODY int mark_survivors(uint8_t* kept, const DrawChunk& chunk, const SampleState* state) {
  const int n = chunk.end - chunk.begin;
  int count = 0;
  if (state) {
    const SampleState cut = *state;
    for (int i = 0; i < n; ++i) {
      const float distance = cut.z_max - chunk.z[i];
      const bool typical = typical_shift(cut, distance) <= cut.spread;
      kept[i] = uint8_t(kept_mask(cut, chunk.z[i], chunk.begin + i, cut.max_distance) & uint64_t(typical));
    }
  } else {
    for (int i = 0; i < n; ++i) kept[i] = order_key(chunk.z[i]) > kMinusInfinityKey ? 1 : 0;
  }
  for (int i = 0; i < n; ++i) count += kept[i];
  return count;
}

BODY BestDraw best_draw_body(const float* z, int64_t n, int32_t first_id, const SampleState* state,
                             const NoiseKey& key) {
  constexpr int kFew = 16;  // survivors of a chunk below which the noise is computed one by one
  BestDraw best;
  int64_t best_key = kNoScore;
  const int32_t last = first_id + int32_t(n);
  for (int32_t begin = first_id; begin < last;) {
    const DrawChunk chunk{z + (begin - first_id), begin, std::min(last, (begin | 255) + 1)};
    begin = chunk.end;
    uint8_t kept[kChunk];
    int64_t keys[kChunk];
    const int survivors = mark_survivors(kept, chunk, state);
    if (survivors == 0) continue;
    const int64_t highest = survivors < kFew ? sparse_keys(keys, chunk, kept, key) : dense_keys(keys, chunk, kept, key);
    if (highest <= best_key) continue;
    best_key = highest;
    best = {key_score(highest), chunk.begin + int32_t(std::find(keys, keys + kChunk, highest) - keys)};
  }
  return best;
}

BODY int64_t count_greater_body(const float* x, int64_t n, float value) {
  const uint32_t key = order_key(value);
  int64_t count = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t length = std::min(kChunk, n - begin);
    uint32_t greater = 0;
    for (int64_t i = 0; i < length; ++i) greater += order_key(x[begin + i]) > key ? 1u : 0u;
    count += greater;
  }
  return count;
}

// A pair (key, id) in one integer: greater is better.
BODY uint64_t pair_key(uint32_t key, uint32_t id) { return uint64_t(key) << 32 | uint32_t(~id); }

BODY int select_pairs(uint64_t* pairs, int wanted, const float* values, int64_t n, int32_t first_id) {
  constexpr int kRoom = 4 * kSampleCandidates;
  int size = 0;
  uint32_t threshold = kMinusInfinityKey;  // later ids must be better than this
  for (int64_t begin = 0; begin < n; begin += 64) {
    const int64_t length = std::min<int64_t>(64, n - begin);
    uint32_t unused = 0;
    if (chunk_max(values + begin, length, unused) <= threshold) continue;
    if (size + 64 > kRoom) {
      std::nth_element(pairs, pairs + wanted - 1, pairs + size, std::greater<>());
      size = wanted;
      threshold = uint32_t(pairs[wanted - 1] >> 32);
    }
    for (int64_t i = 0; i < length; ++i) {
      const uint32_t key = order_key(values[begin + i]);
      if (key > threshold) pairs[size++] = pair_key(key, uint32_t(first_id + int32_t(begin + i)));
    }
  }
  const int found = std::min(size, wanted);
  std::partial_sort(pairs, pairs + found, pairs + size, std::greater<>());
  return found;
}

BODY void select_best_body(SampleEntry* entries, int wanted, const float* values, const float* raw, int64_t n,
                           int32_t first_id) {
  uint64_t pairs[4 * kSampleCandidates];
  const int found = select_pairs(pairs, wanted, values, n, first_id);
  for (int i = 0; i < wanted; ++i) entries[i] = {-infinity(), -1, -infinity()};
  for (int i = 0; i < found; ++i) {
    const int32_t id = int32_t(~uint32_t(pairs[i]));
    entries[i] = {values[id - first_id], id, raw[id - first_id]};
  }
}

#if defined(__x86_64__)

#define FOR_EACH_INSTRUCTION_SET(result, name, parameters, arguments)                                      \
  namespace {                                                                                              \
  __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,bmi2,prefer-vector-width=512")))           \
  result name##_avx512 parameters {                                                                        \
    return name##_body arguments;                                                                          \
  }                                                                                                        \
  __attribute__((target("avx2,fma,bmi2"))) result name##_avx2 parameters { return name##_body arguments; } \
  }                                                                                                        \
  result name parameters {                                                                                 \
    switch (instruction_set()) {                                                                           \
      case InstructionSet::avx512:                                                                         \
        return name##_avx512 arguments;                                                                    \
      case InstructionSet::avx2:                                                                           \
        return name##_avx2 arguments;                                                                      \
      default:                                                                                             \
        return name##_body arguments;                                                                      \
    }                                                                                                      \
  }

#else
#define FOR_EACH_INSTRUCTION_SET(result, name, parameters, arguments) \
  result name parameters { return name##_body arguments; }
#endif

}  // namespace

FOR_EACH_INSTRUCTION_SET(RowScan, scan_row, (const float* x, int64_t n), (x, n))
FOR_EACH_INSTRUCTION_SET(uint64_t, mass_sum, (const float* x, int64_t n, float maximum), (x, n, maximum))
FOR_EACH_INSTRUCTION_SET(void, process_row,
                         (float* z, const float* x, int64_t n, const SampleRow& row, const uint16_t* counts,
                          float temperature),
                         (z, x, n, row, counts, temperature))
FOR_EACH_INSTRUCTION_SET(void, log_probabilities, (float* z, const float* x, int64_t n, const SampleState& state),
                         (z, x, n, state))
FOR_EACH_INSTRUCTION_SET(SampleStats, survivor_stats,
                         (const float* z, int64_t n, int32_t first_id, const SampleState& state, bool for_typical),
                         (z, n, first_id, state, for_typical))
FOR_EACH_INSTRUCTION_SET(void, add_to_bins,
                         (uint64_t * bins, const float* z, int64_t n, int32_t first_id, const SampleState& state,
                          SampleSearch search, int pass),
                         (bins, z, n, first_id, state, search, pass))
FOR_EACH_INSTRUCTION_SET(BestDraw, best_draw,
                         (const float* z, int64_t n, int32_t first_id, const SampleState* state, const NoiseKey& key),
                         (z, n, first_id, state, key))
FOR_EACH_INSTRUCTION_SET(int64_t, count_greater, (const float* x, int64_t n, float value), (x, n, value))
FOR_EACH_INSTRUCTION_SET(void, select_best,
                         (SampleEntry * entries, int wanted, const float* values, const float* raw, int64_t n,
                          int32_t first_id),
                         (entries, wanted, values, raw, n, first_id))

}  // namespace trireme::cpu
