#include "parallel/topology.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"

namespace trireme {
namespace {

// Part `index` of `count` things dealt to `parts`, as evenly as possible; the first parts take the remainder.
Range even_part(int64_t count, int64_t parts, int64_t index) {
  const int64_t base = count / parts, remainder = count % parts;
  const int64_t begin = index * base + std::min(index, remainder);
  return {begin, begin + base + (index < remainder ? 1 : 0)};
}

// The part of even_part(count, parts, .) that holds `item`.
int64_t part_of(int64_t count, int64_t parts, int64_t item) {
  const int64_t base = count / parts, remainder = count % parts;
  const int64_t in_larger_parts = remainder * (base + 1);
  return item < in_larger_parts ? item / (base + 1) : remainder + (item - in_larger_parts) / base;
}

}  // namespace

Topology::Topology(int world, int tp, int pp, int rank) : world_(world), tp_(tp), pp_(pp), rank_(rank) {
  if (tp < 1 || pp < 1)
    throw ConfigError("-tp and -pp must be at least 1, got -tp " + std::to_string(tp) + " -pp " + std::to_string(pp));
  const std::string needed = std::to_string(int64_t(tp) * pp);
  if (int64_t(world) != int64_t(tp) * pp)
    throw ConfigError("started with " + std::to_string(world) + (world == 1 ? " rank" : " ranks") + " but -tp " +
                      std::to_string(tp) + " -pp " + std::to_string(pp) + " needs " + needed + ": use mpirun -n " +
                      needed + ", or a -tp and -pp whose product is " + std::to_string(world));
  CHECK(rank >= 0 && rank < world) << "rank" << rank << "of" << world;
}

int Topology::tp_rank() const { return rank_ % tp_; }
int Topology::stage() const { return pp_ - 1 - rank_ / tp_; }
bool Topology::is_first_stage() const { return stage() == 0; }
bool Topology::is_last_stage() const { return stage() == pp_ - 1; }

int Topology::rank_of(int stage, int tp_rank) const {
  CHECK(stage >= 0 && stage < pp_ && tp_rank >= 0 && tp_rank < tp_) << "stage" << stage << "tp_rank" << tp_rank;
  return (pp_ - 1 - stage) * tp_ + tp_rank;
}

int Topology::previous_rank() const { return is_first_stage() ? -1 : rank_of(stage() - 1, tp_rank()); }
int Topology::next_rank() const { return is_last_stage() ? -1 : rank_of(stage() + 1, tp_rank()); }

std::vector<int> Topology::stage_ranks(int stage) const {
  std::vector<int> ranks;
  for (int t = 0; t < tp_; ++t) ranks.push_back(rank_of(stage, t));
  return ranks;
}

Topology Topology::with_stage_layers(std::vector<int64_t> layers) const {
  if (!layers.empty() && int64_t(layers.size()) != pp_)
    throw ConfigError("--pp-layers gives " + std::to_string(layers.size()) + " numbers for the " + std::to_string(pp_) +
                      " stages of -pp " + std::to_string(pp_) + ": one for each, the first stage's first");
  for (const int64_t count : layers)
    if (count < 1)
      throw ConfigError("--pp-layers gives a stage " + std::to_string(count) +
                        " layers: every stage needs one at least");
  Topology topology = *this;
  topology.stage_layers_ = std::move(layers);
  return topology;
}

void Topology::check_stage_layers(int64_t num_layers) const {
  int64_t total = 0;
  for (const int64_t count : stage_layers_) total += count;
  if (total != num_layers)
    throw ConfigError("--pp-layers adds up to " + std::to_string(total) + " layers, but the model has " +
                      std::to_string(num_layers));
}

Range Topology::layer_range(int64_t num_layers, int stage) const {
  CHECK(stage >= 0 && stage < pp_) << "stage" << stage;
  if (pp_ > num_layers)
    throw ConfigError("-pp " + std::to_string(pp_) + " is more stages than the model's " + std::to_string(num_layers) +
                      " layers: use -pp " + std::to_string(num_layers) + " or less");
  if (!stage_layers_.empty()) check_stage_layers(num_layers);
  const int64_t base = num_layers / pp_, remainder = num_layers % pp_;
  // Extra layers go to stages 1, 2, ..., pp - 2, then 0; the last stage never needs one (remainder < pp).
  const auto layers_of = [&](int s) {
    if (!stage_layers_.empty()) return stage_layers_[size_t(s)];
    const int turn = s == pp_ - 1 ? pp_ - 1 : s == 0 ? pp_ - 2 : s - 1;
    return base + (turn < remainder ? 1 : 0);
  };
  int64_t begin = 0;
  for (int s = 0; s < stage; ++s) begin += layers_of(s);
  return {begin, begin + layers_of(stage)};
}

HeadShard Topology::heads(int64_t q_heads, int64_t kv_heads, int tp_rank) const {
  CHECK(tp_rank >= 0 && tp_rank < tp_) << "tp_rank" << tp_rank;
  if (kv_heads < 1 || q_heads % kv_heads != 0)
    throw ConfigError("the model's " + std::to_string(q_heads) + " attention heads are not a multiple of its " +
                      std::to_string(kv_heads) + " key/value heads: its config cannot be right");
  if (tp_ > q_heads)
    throw ConfigError("-tp " + std::to_string(tp_) + " is more ranks than the model's " + std::to_string(q_heads) +
                      " attention heads: use -tp " + std::to_string(q_heads) + " or less");
  const int64_t group = q_heads / kv_heads;   // query heads per kv head
  if (tp_ <= kv_heads) {
    const Range kv = even_part(kv_heads, tp_, tp_rank);
    return {{kv.begin * group, kv.end * group}, kv};
  }
  // More ranks than kv heads: the ranks are dealt to the kv heads, a kv head's ranks split its query heads.
  const int64_t kv = part_of(tp_, kv_heads, tp_rank);
  const Range sharers = even_part(tp_, kv_heads, kv);
  const Range q = even_part(group, sharers.size(), tp_rank - sharers.begin);
  return {{kv * group + q.begin, kv * group + q.end}, {kv, kv + 1}};
}

Range Topology::shard(int64_t size, int64_t granule, int tp_rank) const {
  CHECK(size >= 0 && granule >= 1 && tp_rank >= 0 && tp_rank < tp_) << "shard" << size << granule << tp_rank;
  const Range granules = even_part((size + granule - 1) / granule, tp_, tp_rank);
  return {std::min(granules.begin * granule, size), std::min(granules.end * granule, size)};
}

}  // namespace trireme
