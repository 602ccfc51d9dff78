#pragma once
// Which rank does what: the only rank arithmetic of the program. A value; no MPI.
//
// Ranks of one stage are consecutive (TP stays inside a node). Rank 0 is in the LAST stage, where tokens are
// drawn: stage = pp - 1 - rank / tp, tp_rank = rank % tp.
// Shards are uneven where sizes do not divide; every range is [begin, end) and may be empty where said so.

#include <cstdint>
#include <vector>

namespace trireme {

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// This rank's attention heads. q heads [q.begin, q.end) attend to kv heads [kv.begin, kv.end); q.size() is a
// multiple of kv.size(). With tp > kv heads a kv head is replicated and its query heads are split.
struct HeadShard {
  Range q, kv;
};

class Topology {
 public:
  Topology() = default;
  // Throws ConfigError when world != tp * pp or a size is < 1.
  Topology(int world, int tp, int pp, int rank);

  int world() const { return world_; }
  int tp() const { return tp_; }
  int pp() const { return pp_; }
  int rank() const { return rank_; }
  int tp_rank() const;
  int stage() const;
  bool is_first_stage() const;                // embeds
  bool is_last_stage() const;                 // norm, logits, sampling
  int rank_of(int stage, int tp_rank) const;
  int previous_rank() const;                  // same tp_rank, stage - 1; -1 on the first stage
  int next_rank() const;                      // same tp_rank, stage + 1; -1 on the last stage
  std::vector<int> stage_ranks(int stage) const;

  // This one with given numbers of layers by stage, at least one each (stage_split.h); empty: as layer_range() does
  // without. Throws ConfigError when there are not pp of them.
  Topology with_stage_layers(std::vector<int64_t> layers) const;
  // Layers of a stage. Where nothing is given: as even as possible, the earlier stages take the remainder except that
  // the first and the last stage are the last to get one (they also embed and sample). Throws ConfigError when
  // pp > layers, and when what was given does not add up to num_layers.
  Range layer_range(int64_t num_layers) const { return layer_range(num_layers, stage()); }
  Range layer_range(int64_t num_layers, int stage) const;

  // Whole GQA groups dealt out as evenly as possible; throws ConfigError when tp > q_heads.
  HeadShard heads(int64_t q_heads, int64_t kv_heads) const { return heads(q_heads, kv_heads, tp_rank()); }
  HeadShard heads(int64_t q_heads, int64_t kv_heads, int tp_rank) const;

  // Cuts `size` at multiples of `granule` (the last piece may be shorter) as evenly as possible; may be empty.
  Range shard(int64_t size, int64_t granule = 64) const { return shard(size, granule, tp_rank()); }
  Range shard(int64_t size, int64_t granule, int tp_rank) const;

 private:
  void check_stage_layers(int64_t num_layers) const;

  int world_ = 1, tp_ = 1, pp_ = 1, rank_ = 0;
  std::vector<int64_t> stage_layers_;  // empty: even
};

}  // namespace trireme
