#pragma once
// The block ids of one KV group: who owns them, which hold a reusable prefix, which may be written again. It
// hands out ids and never touches memory. One thread only (the engine's).
//
//   free ──allocate──► owned ──last release──► retiring ──its plans retired──► cached (in the prefix index) or free
//   retiring or cached ──prefix hit──► owned        cached ──allocate, longest unused first──► owned
//
// Invariant: free + owned + cached + retiring == total; a block is owned exactly while it has references.

#include <deque>
#include <utility>

#include "coordinator/prefix_index.h"
#include "parallel/plan/executor.h"

namespace trireme {

class BlockManager final {
 public:
  explicit BlockManager(const KvGroupInfo& info, PlantedFault fault = PlantedFault::none);

  int32_t total() const { return int32_t(blocks_.size()); }
  int32_t num_free() const { return counts_[size_t(State::free)]; }
  int32_t num_owned() const { return counts_[size_t(State::owned)]; }
  int32_t num_cached() const { return counts_[size_t(State::cached)]; }
  int32_t num_retiring() const { return counts_[size_t(State::retiring)]; }
  int32_t available() const { return num_free() + num_cached(); }  // what allocate() can give now
  int32_t references(BlockId block) const { return at(block).references; }

  BlockId allocate();         // one reference; evicts the longest unused cached block when none is free
  void share(BlockId block);  // one more reference; also takes a prefix match that is cached or retiring
  // One reference less; `last_plan` is the last plan that touched it through this one. With the last reference the
  // block retires behind all plans named for it.
  void release(BlockId block, StepId last_plan);
  void touch(BlockId block, StepId plan);  // `plan` reads the block, whoever owns it
  void retire(StepId step);                // plans up to `step` have left every rank

  ChainKey root(uint8_t group, int32_t adapter, uint64_t salt) const { return index_.root(group, adapter, salt); }
  std::optional<PrefixMatch> find(const ChainKey& parent, std::span<const TokenId> tokens) const;
  bool is_evictable(BlockId block) const { return at(block).state == State::cached; }
  // `block`, owned, holds these tokens' full block behind `parent`: see PrefixIndex::insert.
  std::optional<ChainKey> enroll(const ChainKey& parent, std::span<const TokenId> tokens, BlockId block);
  void forget(BlockId block);  // its contents are not to be reused

  bool is_free(BlockId block) const { return at(block).state == State::free; }
  void verify(std::span<const int32_t> owners) const;  // CHECKs every invariant; owners[block] = tables that hold it

 private:
  enum class State : uint8_t { free, owned, cached, retiring };
  struct Block {
    State state = State::free;
    int32_t references = 0;
    StepId retires_at = -1;          // retiring: reusable once this plan has retired
    StepId touched = -1;             // last plan known to touch it
    BlockId older = -1, newer = -1;  // cached: neighbours in order of use
  };
  const Block& at(BlockId block) const;
  Block& at(BlockId block) { return const_cast<Block&>(std::as_const(*this).at(block)); }
  void move_to(BlockId block, State state);
  void settle(BlockId block);  // nobody can touch it any more: cached or free
  void link_newest(BlockId block);
  void unlink(BlockId block);

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;          // a stack
  BlockId oldest_ = -1, newest_ = -1;  // cached blocks
  std::deque<std::pair<StepId, BlockId>> retiring_;
  int32_t counts_[4] = {};
  StepId retired_ = -1;
  PrefixIndex index_;
  PlantedFault fault_;
};

}  // namespace trireme
