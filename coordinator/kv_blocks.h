#pragma once
// The block managers of all KV groups, and the block orders that make a slot's tables on the ranks equal to its
// sequence's. Positions [0, computed) of a sequence are readable through its table (in a windowed group: the
// last `window` of them). A block with more than one reference is never written: fork shares all blocks, and
// whoever writes the partial one first copies it, until one sharer is left.

#include <algorithm>
#include <vector>

#include "coordinator/block_manager.h"
#include "coordinator/sequence.h"

namespace trireme {

// What the prefix cache has of a sequence. `matches[group]` covers `tokens` positions in every group.
struct CachedPrefix {
  int32_t tokens = 0;
  std::vector<std::vector<PrefixMatch>> matches;
};

enum class Room : uint8_t { now, later, short_of_blocks };  // later: when retiring blocks come back

class KvBlocks final {
 public:
  // max_chunk: tokens of one row at most.
  KvBlocks(const ClusterInfo& cluster, int32_t max_chunk, PlantedFault fault = PlantedFault::none);

  // Blocks of group `group` that a sequence of `length` tokens holds at most (its last token is never computed).
  int32_t most_blocks(size_t group, int32_t length) const;

  // At most tokens.size() - 1 positions, so that there is a hidden state to draw from.
  CachedPrefix find_prefix(const Sequence& sequence) const;
  // Is there room for all tokens the sequence has, beside `spare` blocks per group?
  bool has_room_to_admit(const Sequence& sequence, const CachedPrefix& prefix, int32_t spare) const;
  void take_prefix(Sequence& sequence, const CachedPrefix& prefix);  // what is behind a window stays where it is

  Room room_until(const Sequence& sequence, int32_t end) const;
  // Makes [computed, end) writable; needs Room::now. Tables change here, on the ranks by send().
  void extend(Sequence& sequence, int32_t end, StepPlan& plan);
  void send(Sequence& sequence, StepPlan& plan);
  // The child's tables become the parent's, before the parent's changes in this plan are sent: a fork order
  // copies what the ranks have.
  void fork(Sequence& parent, Sequence& child);
  void drop_behind_window(Sequence& sequence, StepId last_plan);

  // Full blocks become hits once their rows are submitted and their ids known. Submitted is enough: a hit reads
  // them in a later plan, and every rank executes plans in order.
  void enroll(Sequence& sequence) {
    const int32_t known = std::min(sequence.computed, int32_t(sequence.tokens.size()));
    if (known >= sequence.enroll_from || fault_ == PlantedFault::enrolled_before_computed) enroll(sequence, known);
  }
  void forget(const Sequence& sequence);  // its contents are bad: no later request may hit them
  void release(Sequence& sequence, StepId last_plan);
  void retire(StepId step);

  const std::vector<BlockManager>& groups() const { return managers_; }
  void verify(const std::vector<SequencePtr>& holders) const;

 private:
  struct Need {
    int32_t blocks = 0;
    bool copies = false;
  };
  void enroll(Sequence& sequence, int32_t known);
  Need need(size_t group, const Sequence& sequence, int32_t end) const;
  // Index of the first block that a query at position `next` or later can read.
  int32_t first_live(size_t group, int32_t next) const;
  int32_t block_size(size_t group) const { return infos_[group].block_size; }

  std::vector<KvGroupInfo> infos_;
  std::vector<BlockManager> managers_;
  int32_t hit_granule_ = 1;  // tokens: a multiple of every group's block size
  int32_t max_chunk_ = 1;
  bool has_windows_ = false;
  PlantedFault fault_;
};

}  // namespace trireme
