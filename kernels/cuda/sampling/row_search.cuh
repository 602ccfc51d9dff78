#pragma once
// The cuts of an open row in shared memory: the key at which the weight of the better ids reaches what is needed, the
// same as that of the passes over histograms of keys (sample_search_step), found in fewer. First a histogram that is
// linear in the distance from the best (or from typical-p's center): there logits spread over many bins, as they do not
// in the leading bits of keys. The ids of the bin at the border, mostly a few hundred, are listed in the first block,
// which bisects them; too many are cut again, now by keys, until they fit or all tie.
//
// Every block keeps its own copy of the row's state and comes to the same values.

#include "kernels/cuda/sampling/row_scan.cuh"
#include "kernels/cuda/sampling/row_select.cuh"

namespace trireme::cuda {

struct RowSearch {
  SampleSearch search;
  float max_distance;          // typical-p runs on what min-p keeps
  float nearest, scale;        // linear bins: (distance - nearest) * scale
  Word need, before;           // before: weight of what is better than the ids under search
  uint32_t low_key, high_key;  // search keys of the ids under search
};

__device__ inline RowSearch row_search(const SampleState& state, SampleSearch search) {
  return {search, search == SampleSearch::typical ? state.max_distance : infinity(), 0, 0, 0, 0, 0, ~0u};
}

// What bins are linear in; descends as keys do, ids of equal keys are at equal distances.
__device__ inline float search_distance(const SampleState& state, const RowSearch& s, float z) {
  const float distance = state.z_max - z;
  return s.search == SampleSearch::typical ? typical_shift(state, distance) : distance;
}

__device__ inline bool takes_value(const SampleState& state, const RowSearch& s, float z, int id) {
  return survives_value(state, order_key(z), id) && state.z_max - z <= s.max_distance;
}

__device__ inline Word search_weight(const SampleState& state, const RowSearch& s, float z) {
  return s.search == SampleSearch::count ? 1 : quick_mass(state.z_max - z);
}

__device__ inline int linear_bin(const RowSearch& s, float distance) {
  const float magic = 8388608.0f;  // 2^23: adding it rounds to an integer
  if (s.scale == 0.0f) return 0;
  const int bin = int(float_bits(fused(distance - s.nearest, s.scale, magic)) - 0x4b000000u);
  return bin < kSampleBins ? bin : kSampleBins - 1;
}

// Masses end at this distance.
constexpr float kFarthestMass = 32.0f;

__device__ inline void set_linear_bins(RowBlock& block, RowSearch& s) {
  const SampleState& state = block.state();
  uint32_t nearest = ~0u, farthest = 0;
  block.for_values([&](float z, int i) {
    if (!takes_value(state, s, z, block.first_id() + i)) return;
    const uint32_t bits = float_bits(absolute(search_distance(state, s, z)));
    nearest = bits < nearest ? bits : nearest;
    farthest = bits > farthest ? bits : farthest;
  });
  nearest = block_reduce<uint32_t>(nearest, ~0u, Smaller{});
  farthest = block_reduce<uint32_t>(farthest, 0, Larger{});
  uint32_t least = ~0u, most = 0;
  block.exchange(nearest, farthest, [&](int, Word a, Word b) {
    least = uint32_t(a) < least ? uint32_t(a) : least;
    most = uint32_t(b) > most ? uint32_t(b) : most;
  });
  s.nearest = bits_float(least);
  float range = bits_float(most) - s.nearest;
  if (s.search == SampleSearch::mass) range = fminf(range, kFarthestMass);
  s.scale = range > 1e-30f && range < infinity() ? float(kSampleBins - 1) / range : 0.0f;
}

// bin_of(value): the bin, or -1. Adds the weights of the chunk's ids under search.
template <typename BinOf>
__device__ void fill_bins(RowBlock& block, const RowSearch& s, BinOf&& bin_of) {
  const SampleState& state = block.state();
  auto& bins = block.shared().scratch.search.bins;
  for (int bin = threadIdx.x; bin < kBinParts * kSampleBins; bin += kRowThreads) bins[0][bin] = 0;
  __syncthreads();
  block.for_values([&](float z, int i) {
    if (!takes_value(state, s, z, block.first_id() + i)) return;
    const int bin = bin_of(z);
    if (bin < 0) return;
    const Word weight = search_weight(state, s, z);
#pragma unroll
    for (int part = 0; part < kBinParts; ++part) {
      const uint32_t bits = uint32_t(weight >> (part * kBinPartBits)) & (part < 2 ? (1u << kBinPartBits) - 1 : ~0u);
      if (bits) atomicAdd(&bins[part][bin], bits);
    }
  });
}

// Sums over the threads of the block before this one, and over all.
__device__ inline Word exclusive_block_sum(Word value, Word& total) {
  __shared__ Word warp_sums[kRowThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Word sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const Word lower = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += lower;
  }
  __syncthreads();
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
  Word before = sum - value;
  total = 0;
  for (int w = 0; w < kRowThreads / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    total += warp_sums[w];
  }
  return before;
}

// The first bin, over all blocks, at which the weight reaches s.need; s.before becomes the weight before it. Each block
// looks at an equal part of the bins.
__device__ inline int find_bin(RowBlock& block, RowSearch& s) {
  const int per_block = kSampleBins / block.size(), per_thread = per_block > kRowThreads ? per_block / kRowThreads : 1;
  const bool works = int(threadIdx.x) * per_thread < per_block;
  const int first = block.rank() * per_block + int(threadIdx.x) * per_thread;
  constexpr int kMost = kSampleBins / kRowThreads;
  Word weights[kMost];
  Word mine = 0;
  cluster_sync();
#pragma unroll
  for (int k = 0; k < kMost; ++k) {
    weights[k] = 0;
    if (!works || k >= per_thread) continue;
    for (int b = 0; b < block.size(); ++b) {
      const uint32_t* bins = peer_shared(&block.shared().scratch.search.bins[0][0], b) + first + k;
      for (int part = 0; part < kBinParts; ++part)
        weights[k] += Word(bins[part * kSampleBins]) << (part * kBinPartBits);
    }
    mine += weights[k];
  }
  Word total;
  Word before = exclusive_block_sum(mine, total), earlier = 0;
  block.exchange(total, 0, [&](int b, Word a, Word) { earlier += b < block.rank() ? a : 0; });
  before += s.before + earlier;
  int bin = INT32_MAX;
  Word before_bin = 0;
#pragma unroll
  for (int k = 0; k < kMost; ++k) {
    if (before < s.need && before + weights[k] >= s.need) bin = first + k, before_bin = before;
    before += weights[k];
  }
  const int chosen = block_reduce<int>(bin, INT32_MAX, Smaller{});
  before_bin = block_reduce<Word>(bin == chosen ? before_bin : 0, 0, Larger{});
  int result = 0;
  block.exchange(Word(chosen), before_bin, [&](int, Word a, Word b) {
    if (int(a) != INT32_MAX) result = int(a), s.before = b;
  });
  return result;
}

// Lists the ids of one bin in the first block and sets the range of their keys. Returns how many there are.
template <typename BinOf>
__device__ int list_bin(RowBlock& block, RowSearch& s, int bin, BinOf&& bin_of) {
  const SampleState& state = block.state();
  RowShared* first = peer_shared(&block.shared(), 0);
  if (block.leads() && threadIdx.x == 0) block.shared().list_size = 0;
  cluster_sync();
  uint32_t low = ~0u, high = 0;
  block.for_values([&](float z, int i) {
    if (!takes_value(state, s, z, block.first_id() + i) || bin_of(z) != bin) return;
    const uint32_t key = search_key(state, s.search, z);
    low = key < low ? key : low;
    high = key > high ? key : high;
    const int place = atomicAdd(&first->list_size, 1);
    if (place < kListRoom) first->scratch.search.list[place] = pair_of_key(order_key(z), block.first_id() + i);
  });
  low = block_reduce<uint32_t>(low, ~0u, Smaller{});
  high = block_reduce<uint32_t>(high, 0, Larger{});
  s.low_key = ~0u, s.high_key = 0;
  block.exchange(low, high, [&](int, Word a, Word b) {
    s.low_key = uint32_t(a) < s.low_key ? uint32_t(a) : s.low_key;
    s.high_key = uint32_t(b) > s.high_key ? uint32_t(b) : s.high_key;
  });
  return first->list_size;
}

// The greatest key such that the listed ids of at least this key reach what is needed; by the first block.
__device__ inline void bisect_list(RowBlock& block, RowSearch& s, int size) {
  const SampleState& state = block.state();
  constexpr int kEach = kListRoom / kRowThreads;
  uint32_t keys[kEach];
  Word weights[kEach];
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int i = k * kRowThreads + int(threadIdx.x);
    keys[k] = 0, weights[k] = 0;
    if (i >= size) continue;
    const float z = key_float(key_of_pair(block.shared().scratch.search.list[i]));
    keys[k] = search_key(state, s.search, z);
    weights[k] = search_weight(state, s, z);
  }
  const auto weight_from = [&](uint32_t key, bool itself) {
    Word sum = 0;
#pragma unroll
    for (int k = 0; k < kEach; ++k)
      if (keys[k] > key || (itself && keys[k] == key)) sum += weights[k];
    return block_sum_of(sum);
  };
  while (s.low_key < s.high_key) {
    const uint32_t middle = s.low_key + (s.high_key - s.low_key + 1) / 2;
    if (s.before + weight_from(middle, true) >= s.need)
      s.low_key = middle;
    else
      s.high_key = middle - 1;
  }
  s.before += weight_from(s.low_key, false);
}

// s.low_key becomes the border's key, s.before the weight of the better ids.
__device__ inline void find_border(RowBlock& block, RowSearch& s) {
  const SampleState& state = block.state();
  set_linear_bins(block, s);
  const auto by_distance = [&](float z) {
    const float distance = search_distance(state, s, z);
    return s.search == SampleSearch::mass && distance > s.nearest + kFarthestMass ? -1 : linear_bin(s, distance);
  };
  fill_bins(block, s, by_distance);
  int bin = find_bin(block, s);
  int size = list_bin(block, s, bin, by_distance);
  while (size > kListRoom && s.low_key < s.high_key) {
    const RowSearch range = s;
    int shift = 0;
    while ((range.high_key - range.low_key) >> shift >= kSampleBins) ++shift;
    const auto by_key = [&](float z) {
      const uint32_t key = search_key(state, range.search, z);
      return key < range.low_key || key > range.high_key ? -1 : int((range.high_key - key) >> shift);
    };
    fill_bins(block, s, by_key);
    bin = find_bin(block, s);
    size = list_bin(block, s, bin, by_key);
  }
  if (size <= kListRoom && block.leads()) bisect_list(block, s, size);
  block.exchange(s.low_key, s.before, [&](int b, Word key, Word before) {
    if (b == 0) s.low_key = uint32_t(key), s.before = before;
  });
}

// The `quota`-th id of the row whose key is the cut's: it and those before it are kept. quota >= 1 of them exist.
__device__ inline int kept_tie(RowBlock& block, uint32_t cut_key, Word quota) {
  int mine = 0;
  block.for_values([&](float z, int) { mine += order_key(z) == cut_key; });
  const int own = block_reduce<int>(mine, 0, Sum{});
  Word earlier = 0, all = 0;
  block.exchange(Word(own), 0, [&](int b, Word a, Word) {
    earlier += b < block.rank() ? a : 0;
    all += a;
  });
  if (quota > all) quota = all;
  int last = -1;
  if (earlier < quota && quota <= earlier + Word(own))  // the greatest -index that enough ties reach
    last =
        block.first_id() - reached_by<int>(-block.n(), 0, int(quota - earlier), int(quota - earlier), [&](int minus) {
          int count = 0;
          block.for_values([&](float z, int i) { count += order_key(z) == cut_key && i <= -minus; });
          return block_reduce<int>(count, 0, Sum{});
        });
  int found = -1;
  block.exchange(Word(last + 1), 0, [&](int, Word a, Word) {
    if (a > 0) found = int(a) - 1;
  });
  return found;
}

// A function of its own, so that the kernel does not hold its registers. need: of the search's weights among the
// survivors so far.
static __device__ __noinline__ RowBlock search_cut(RowBlock block, SampleSearch search, Word need) {
  RowSearch s = row_search(block.state(), search);
  s.need = need;
  find_border(block, s);
  SampleState state = block.state();
  state.prefix = s.low_key;
  state.before = s.before;
  state.need = need;
  if (search == SampleSearch::typical) {
    state.spread = bits_float(~s.low_key);
  } else {
    state.cut_id = kept_tie(block, s.low_key, kept_ties(state, tie_unit(state, search)));
    state.cut_key = s.low_key;
  }
  __syncthreads();
  if (threadIdx.x == 0) block.state() = state;
  __syncthreads();
  return block;
}

__device__ inline SampleStats row_stats(RowBlock& block, bool for_typical) {
  const SampleState& state = block.state();
  const float max_distance = for_typical ? state.max_distance : infinity();
  SampleStats stats{0, 0, 0};
  block.for_values([&](float z, int i) {
    const float distance = state.z_max - z;
    if (!survives_value(state, order_key(z), block.first_id() + i) || !(distance <= max_distance)) return;
    stats.mass += quick_mass(distance);
    if (for_typical && distance < 100.0f) stats.moment += moment_mass(distance);
    ++stats.count;
  });
  SampleStats sum{0, 0, 0};
  block.exchange(block_sum_of(stats.mass), block_sum_of(stats.count), [&](int, Word a, Word b) {
    sum.mass += a;
    sum.count += b;
  });
  if (for_typical) sum.moment = row_sum(block, stats.moment);
  return sum;
}

// The cuts of a row that its candidates did not prove.
__device__ inline void cut_row(RowBlock& block, const SampleShard& shard, SampleStats stats) {
  const SampleRow& row = block.row();
  if (has_top_k(row, shard.vocab_size)) {
    block = search_cut(block, SampleSearch::count, Word(row.top_k) < stats.count ? Word(row.top_k) : stats.count);
    if (has_top_p(row)) stats = row_stats(block, false);
  }
  if (has_top_p(row)) block = search_cut(block, SampleSearch::mass, needed_mass(row.top_p, stats.mass));
  if (!has_typical_p(row)) return;
  stats = row_stats(block, true);
  if (threadIdx.x == 0) block.state().center = typical_center(stats.moment, stats.mass);
  __syncthreads();
  block = search_cut(block, SampleSearch::typical, needed_mass(row.typical_p, stats.mass));
}

}  // namespace trireme::cuda
