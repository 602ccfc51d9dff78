#include "coordinator/block_manager.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {

BlockManager::BlockManager(const KvGroupInfo& info, PlantedFault fault)
    : blocks_(size_t(info.num_blocks)), index_(info.num_blocks, fault), fault_(fault) {
  CHECK_GT(info.num_blocks, 0);
  CHECK_GT(info.block_size, 0);
  free_.reserve(blocks_.size());
  for (BlockId block = info.num_blocks - 1; block >= 0; --block) free_.push_back(block);
  counts_[size_t(State::free)] = info.num_blocks;
}

const BlockManager::Block& BlockManager::at(BlockId block) const {
  CHECK(block >= 0 && block < total()) << "block" << block << "of" << total();
  return blocks_[size_t(block)];
}

BlockId BlockManager::allocate() {
  CHECK_GT(available(), 0) << "no block to allocate";
  BlockId block = oldest_;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    unlink(block);
    index_.erase(block);
  }
  CHECK_EQ(at(block).references, 0) << "allocated block" << block;
  move_to(block, State::owned);
  at(block).references = 1;
  at(block).touched = -1;
  return block;
}

void BlockManager::share(BlockId block) {
  Block& shared = at(block);
  CHECK(shared.state != State::free) << "block" << block << "shared while free";
  if (shared.state == State::cached) {
    if (fault_ == PlantedFault::block_evicted_while_read) return;
    unlink(block);
  }
  if (shared.state != State::owned) move_to(block, State::owned);
  ++shared.references;
}

void BlockManager::release(BlockId block, StepId last_plan) {
  Block& released = at(block);
  if (fault_ == PlantedFault::block_evicted_while_read && released.state == State::cached) return;
  CHECK(released.state == State::owned) << "block" << block << "released while nobody owns it";
  CHECK_GT(released.references, 0);
  released.touched = std::max(released.touched, last_plan);
  if (--released.references > 0) return;
  released.retires_at = released.touched;
  if (fault_ == PlantedFault::block_freed_early) released.retires_at = retired_;
  move_to(block, State::retiring);
  if (released.retires_at <= retired_) return settle(block);
  retiring_.emplace_back(released.retires_at, block);
}

void BlockManager::touch(BlockId block, StepId plan) { at(block).touched = std::max(at(block).touched, plan); }

void BlockManager::retire(StepId step) {
  CHECK_GE(step, retired_) << "plans retire in order";
  retired_ = step;
  while (!retiring_.empty() && retiring_.front().first <= step) {
    const auto [retires_at, block] = retiring_.front();
    retiring_.pop_front();
    // A prefix hit may have taken the block back since; its next release has queued it again.
    if (at(block).state == State::retiring && at(block).retires_at == retires_at) settle(block);
  }
  CHECK_EQ(num_free() + num_owned() + num_cached() + num_retiring(), total());
}

void BlockManager::settle(BlockId block) {
  if (index_.contains(block)) {
    move_to(block, State::cached);
    link_newest(block);
  } else {
    move_to(block, State::free);
    free_.push_back(block);
  }
}

std::optional<PrefixMatch> BlockManager::find(const ChainKey& parent, std::span<const TokenId> tokens) const {
  return index_.find(parent, tokens);
}

std::optional<ChainKey> BlockManager::enroll(const ChainKey& parent, std::span<const TokenId> tokens, BlockId block) {
  CHECK(at(block).state == State::owned || fault_ == PlantedFault::block_evicted_while_read)
      << "block" << block << "enrolled while nobody owns it";
  // Where a block that nobody owns holds the same, this one takes its place: it is there for as long as its owner is,
  // and the other may be written again at once.
  auto held = index_.insert(parent, tokens, block);
  if (held && held->block != block && at(held->block).references == 0) {
    forget(held->block);
    held = index_.insert(parent, tokens, block);
  }
  return held ? std::optional(held->key) : std::nullopt;
}

void BlockManager::forget(BlockId block) {
  if (at(block).state == State::cached) {
    unlink(block);
    move_to(block, State::free);
    free_.push_back(block);
  }
  index_.erase(block);
}

void BlockManager::move_to(BlockId block, State state) {
  --counts_[size_t(at(block).state)];
  ++counts_[size_t(state)];
  at(block).state = state;
}

void BlockManager::link_newest(BlockId block) {
  at(block).older = newest_;
  at(block).newer = -1;
  (newest_ < 0 ? oldest_ : at(newest_).newer) = block;
  newest_ = block;
}

void BlockManager::unlink(BlockId block) {
  const auto [older, newer] = std::pair(at(block).older, at(block).newer);
  (older < 0 ? oldest_ : at(older).newer) = newer;
  (newer < 0 ? newest_ : at(newer).older) = older;
}

void BlockManager::verify(std::span<const int32_t> owners) const {
  CHECK_EQ(owners.size(), blocks_.size());
  int32_t counted[4] = {};
  for (BlockId block = 0; block < total(); ++block) {
    const Block& checked = at(block);
    ++counted[size_t(checked.state)];
    CHECK_EQ(checked.references, owners[size_t(block)]) << "references and owners of block" << block;
    CHECK_EQ(checked.references > 0, checked.state == State::owned) << "block" << block;
    CHECK(checked.state != State::free || !index_.contains(block)) << "free block" << block << "is in the prefix index";
    CHECK(checked.state != State::cached || index_.contains(block)) << "cached block" << block << "is not indexed";
  }
  for (size_t state = 0; state < 4; ++state) CHECK_EQ(counted[state], counts_[state]) << "blocks in state" << state;
  CHECK_EQ(free_.size(), size_t(num_free()));
}

}  // namespace trireme
