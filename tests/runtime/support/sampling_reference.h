#pragma once
// The rule of a row in plain float64 code: sort, add up, cut. And logits to try it on.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/sampling_rule.h"
#include "tests/runtime/support/shard_threads.h"

namespace trireme {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline std::vector<float> reference_z(const Problem& problem, size_t r) {
  const SampleRow& row = problem.batch.rows[r];
  std::vector<float> z(problem.row(r).begin(), problem.row(r).end());
  for (int i = row.bias_begin; i < row.bias_begin + row.bias_count; ++i)
    z[size_t(problem.batch.bias_ids[size_t(i)])] += problem.batch.bias_values[size_t(i)];
  for (size_t id = 0; id < z.size(); ++id) {
    const uint16_t count = problem.counts.empty() ? 0 : problem.counts[size_t(row.slot) * z.size() + id];
    const int drawn = count & 0x7fff;
    if (count) z[id] = z[id] > 0 ? z[id] / row.repetition_penalty : z[id] * row.repetition_penalty;
    z[id] = std::fma(-row.frequency_penalty, float(drawn), z[id]);
    if (drawn) z[id] -= row.presence_penalty;
    const size_t words = (z.size() + 31) / 32;
    if (row.mask_row >= 0 && !(problem.batch.masks[size_t(row.mask_row) * words + id / 32] >> (id % 32) & 1))
      z[id] = -kInfinity;
  }
  for (int i = row.suppress_begin; i < row.suppress_begin + row.suppress_count; ++i)
    z[size_t(problem.batch.suppressed[size_t(i)])] = -kInfinity;
  if (row.temperature >= kMinTemperature)
    for (float& value : z) value = value / row.temperature;
  return z;
}

inline std::vector<double> weights_of(const std::vector<float>& z, const std::vector<int>& ids) {
  std::vector<double> weights;
  for (int id : ids) weights.push_back(std::exp(double(z[size_t(id)]) - double(z[size_t(ids[0])])));
  return weights;
}

inline double sum(const std::vector<double>& values) {
  double total = 0;
  for (double value : values) total += value;
  return total;
}

inline void keep_typical(std::vector<int>& ids, const std::vector<float>& z, double typical_p) {
  const std::vector<double> weights = weights_of(z, ids);
  const double total = sum(weights);
  double entropy = 0;
  for (double w : weights)
    if (w > 0) entropy -= w / total * std::log(w / total);
  std::vector<std::pair<double, int>> shifted;
  for (size_t i = 0; i < ids.size(); ++i)
    shifted.push_back({std::abs(-std::log(weights[i] / total) - entropy), int(i)});
  std::sort(shifted.begin(), shifted.end());
  double before = 0, border = kInfinity;
  for (const auto& [shift, i] : shifted)
    if ((before += weights[size_t(i)] / total) >= typical_p) {
      border = shift;
      break;
    }
  std::vector<int> kept;
  for (const auto& [shift, i] : shifted)
    if (shift <= border + 1e-6) kept.push_back(ids[size_t(i)]);
  std::sort(kept.begin(), kept.end(),
            [&](int a, int b) { return z[size_t(a)] != z[size_t(b)] ? z[size_t(a)] > z[size_t(b)] : a < b; });
  ids = kept;
}

// The ids that survive the cuts, best first. Greedy rows have none.
inline std::vector<int> reference_survivors(const SampleRow& row, const std::vector<float>& z) {
  std::vector<int> ids;
  for (size_t id = 0; id < z.size(); ++id)
    if (z[id] > -kInfinity) ids.push_back(int(id));
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return z[size_t(a)] > z[size_t(b)]; });
  if (ids.empty() || row.temperature < kMinTemperature) return ids;
  if (row.top_k > 0 && size_t(row.top_k) < ids.size()) ids.resize(size_t(row.top_k));
  const std::vector<double> weights = weights_of(z, ids);
  if (row.top_p < 1) {
    const double need = double(row.top_p) * sum(weights);
    double before = 0;
    size_t kept = 0;
    while (kept < ids.size() && (kept == 0 || before < need)) before += weights[kept++];
    ids.resize(kept);
  }
  if (row.min_p > 0)
    while (ids.size() > 1 && weights[ids.size() - 1] < double(row.min_p)) ids.pop_back();
  if (row.typical_p < 1) keep_typical(ids, z, double(row.typical_p));
  return ids;
}

inline int reference_draw(const Problem& problem, size_t r) {
  const SampleRow& row = problem.batch.rows[r];
  const std::vector<float> z = reference_z(problem, r);
  const std::vector<int> ids = reference_survivors(row, z);
  if (ids.empty()) return -1;
  if (row.temperature < kMinTemperature) return ids[0];
  const NoiseKey key{row.seed, uint32_t(row.choice), uint32_t(problem.lengths[size_t(row.slot)] + row.position_offset)};
  int best = ids[0];
  for (int id : ids)
    if (draw_score(z[size_t(id)], key, id) > draw_score(z[size_t(best)], key, best)) best = id;
  return best;
}

inline double reference_logprob(std::span<const float> logits, int id) {
  double maximum = -kInfinity, total = 0;
  for (float value : logits) maximum = std::max(maximum, double(value));
  for (float value : logits) total += std::exp(double(value) - maximum);
  return double(logits[size_t(id)]) - maximum - std::log(total);
}

inline int reference_rank(std::span<const float> logits, int id) {
  int rank = 1;
  for (float value : logits) rank += value > logits[size_t(id)];
  return rank;
}

using Generator = std::mt19937;

inline std::vector<float> normal_logits(int64_t vocab, float deviation, Generator& generator) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(vocab));
  for (float& value : values) value = normal(generator);
  return values;
}

enum class Shape { normal, sharp, flat, ties, wide, holes, ascending };
constexpr Shape kShapes[] = {Shape::normal, Shape::sharp, Shape::flat,     Shape::ties,
                             Shape::wide,   Shape::holes, Shape::ascending};

inline std::vector<float> make_logits(Shape shape, int64_t vocab, Generator& generator) {
  std::vector<float> values = normal_logits(vocab,
                                            shape == Shape::sharp  ? 8.0f
                                            : shape == Shape::wide ? 1e4f
                                                                   : 1.5f,
                                            generator);
  for (size_t id = 0; id < values.size(); ++id) {
    if (shape == Shape::flat) values[id] = 0.25f;
    if (shape == Shape::ties) values[id] = std::round(values[id]);
    if (shape == Shape::holes && id % 3 != 0) values[id] = -kInfinity;
    if (shape == Shape::ascending) values[id] = float(id) * 0.001f;
  }
  return values;
}

inline SampleRow random_row(Generator& generator, int index) {
  const auto pick = [&](std::initializer_list<float> values) {
    return *(values.begin() + generator() % values.size());
  };
  SampleRow row;
  row.seed = generator() | uint64_t(generator()) << 32;
  row.choice = int32_t(generator() % 3);
  row.position_offset = index;
  row.temperature = pick({0, 0.3f, 0.7f, 1, 1, 1.7f});
  row.top_k = int32_t(pick({0, 0, 1, 5, 50, 64, 65, 300, 1e6f}));
  row.top_p = pick({1, 1, 0.9f, 0.95f, 0.5f, 0.123f, 1e-6f, 0.999f});
  row.min_p = pick({0, 0, 0, 0.05f, 0.3f, 1e-4f});
  row.typical_p = pick({1, 1, 1, 0.9f, 0.4f});
  row.top_logprobs = int32_t(pick({0, 0, 1, 5, 20}));
  row.want_rank = int32_t(generator() % 2);
  return row;
}

}  // namespace trireme
