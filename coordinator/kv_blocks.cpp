#include "coordinator/kv_blocks.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace trireme {
namespace {

int32_t ceil_div(int32_t value, int32_t divisor) { return (value + divisor - 1) / divisor; }

std::span<const TokenId> block_tokens(const Sequence& sequence, int32_t index, int32_t size) {
  return std::span(sequence.tokens).subspan(size_t(index) * size_t(size), size_t(size));
}

}  // namespace

KvBlocks::KvBlocks(const ClusterInfo& cluster, int32_t max_chunk, PlantedFault fault)
    : infos_(cluster.groups), max_chunk_(max_chunk), fault_(fault) {
  CHECK(!infos_.empty()) << "a model has at least one KV group";
  for (const KvGroupInfo& info : infos_) {
    managers_.emplace_back(info, fault);
    hit_granule_ = std::lcm(hit_granule_, info.block_size);
    has_windows_ |= info.window > 0;
  }
}

int32_t KvBlocks::most_blocks(size_t group, int32_t length) const {
  const int32_t all = ceil_div(length - 1, block_size(group));
  const int32_t window = infos_[group].window;
  return window == 0 ? all : std::min(all, (window + max_chunk_) / block_size(group) + 2);
}

CachedPrefix KvBlocks::find_prefix(const Sequence& sequence) const {
  CachedPrefix prefix;
  prefix.matches.resize(managers_.size());
  int32_t tokens = int32_t(sequence.tokens.size()) - 1;
  for (size_t group = 0; group < managers_.size(); ++group) {
    ChainKey parent = managers_[group].root(uint8_t(group), sequence.request->adapter, sequence.cache_salt);
    const int32_t limit = tokens / block_size(group);
    for (int32_t index = 0; index < limit; ++index) {
      const auto match = managers_[group].find(parent, block_tokens(sequence, index, block_size(group)));
      if (!match) break;
      prefix.matches[group].push_back(*match);
      parent = match->key;
    }
    tokens = int32_t(prefix.matches[group].size()) * block_size(group);
  }
  prefix.tokens = tokens / hit_granule_ * hit_granule_;
  for (size_t group = 0; group < managers_.size(); ++group) {
    prefix.matches[group].resize(size_t(prefix.tokens / block_size(group)));
  }
  return prefix;
}

bool KvBlocks::has_room_to_admit(const Sequence& sequence, const CachedPrefix& prefix, int32_t spare) const {
  for (size_t group = 0; group < managers_.size(); ++group) {
    const auto& matches = prefix.matches[group];
    const auto live = std::span(matches).subspan(size_t(first_live(group, prefix.tokens)));
    const auto evictable = std::ranges::count_if(
        live, [&](const PrefixMatch& match) { return managers_[group].is_evictable(match.block); });
    const int32_t missing = ceil_div(int32_t(sequence.tokens.size()), block_size(group)) - int32_t(matches.size());
    const int32_t needed = std::min(missing, most_blocks(group, sequence.max_length) - int32_t(live.size()));
    if (managers_[group].available() - int32_t(evictable) < needed + spare) return false;
  }
  return true;
}

void KvBlocks::take_prefix(Sequence& sequence, const CachedPrefix& prefix) {
  sequence.tables.assign(managers_.size(), {});
  for (size_t group = 0; group < managers_.size(); ++group) {
    BlockTable& table = sequence.tables[group];
    table.chain = managers_[group].root(uint8_t(group), sequence.request->adapter, sequence.cache_salt);
    const auto& matches = prefix.matches[group];
    table.first = first_live(group, prefix.tokens);
    table.blocks.assign(matches.size(), -1);
    for (size_t index = size_t(table.first); index < matches.size(); ++index) {
      table.blocks[index] = matches[index].block;
      managers_[group].share(matches[index].block);
    }
    if (!matches.empty()) table.chain = matches.back().key;
    table.enrolled = int32_t(matches.size());
  }
  sequence.computed = prefix.tokens;
  sequence.blocks_until = sequence.enroll_from = 0;
}

KvBlocks::Need KvBlocks::need(size_t group, const Sequence& sequence, int32_t end) const {
  const BlockTable& table = sequence.tables[group];
  Need need{std::max(0, ceil_div(end, block_size(group)) - int32_t(table.blocks.size()))};
  const size_t first_written = size_t(sequence.computed / block_size(group));
  if (first_written < table.blocks.size() && managers_[group].references(table.blocks[first_written]) > 1) {
    need.copies = fault_ != PlantedFault::shared_block_written;
    need.blocks += need.copies;
  }
  return need;
}

Room KvBlocks::room_until(const Sequence& sequence, int32_t end) const {
  Room room = Room::now;
  for (size_t group = 0; group < managers_.size(); ++group) {
    const BlockManager& manager = managers_[group];
    const int32_t blocks = need(group, sequence, end).blocks;
    if (blocks > manager.available() + manager.num_retiring()) return Room::short_of_blocks;
    if (blocks > manager.available()) room = Room::later;
  }
  return room;
}

void KvBlocks::extend(Sequence& sequence, int32_t end, StepPlan& plan) {
  for (size_t group = 0; group < managers_.size(); ++group) {
    BlockManager& manager = managers_[group];
    BlockTable& table = sequence.tables[group];
    if (need(group, sequence, end).copies) {
      const int32_t index = sequence.computed / block_size(group);
      BlockId& block = table.blocks[size_t(index)];
      const BlockId source = block;
      block = manager.allocate();
      BlockOrder order{BlockOrderKind::copy, uint8_t(group), sequence.slot, index, block, source};
      if (fault_ != PlantedFault::copy_missed) plan.blocks.push_back(order);
      order.kind = BlockOrderKind::replace;
      plan.blocks.push_back(order);
      manager.touch(source, plan.step);
      manager.release(source, plan.step);
    }
    while (int32_t(table.blocks.size()) * block_size(group) < end) table.blocks.push_back(manager.allocate());
    const int32_t writable = int32_t(table.blocks.size()) * block_size(group);
    sequence.blocks_until = group == 0 ? writable : std::min(sequence.blocks_until, writable);
  }
}

void KvBlocks::send(Sequence& sequence, StepPlan& plan) {
  for (size_t group = 0; group < managers_.size(); ++group) {
    BlockTable& table = sequence.tables[group];
    for (; table.sent_blocks < int32_t(table.blocks.size()); ++table.sent_blocks) {
      // An entry that is behind the window already still takes its place; nothing reads it.
      const BlockId block = std::max(0, table.blocks[size_t(table.sent_blocks)]);
      plan.blocks.push_back({BlockOrderKind::append, uint8_t(group), sequence.slot, table.sent_blocks, block, 0});
    }
    if (table.sent_first == table.first) continue;
    plan.blocks.push_back({BlockOrderKind::drop_prefix, uint8_t(group), sequence.slot, table.first, 0, 0});
    table.sent_first = table.first;
  }
}

void KvBlocks::fork(Sequence& parent, Sequence& child) {
  child.tables = parent.tables;
  child.enroll_from = parent.enroll_from;
  parent.blocks_until = child.blocks_until = 0;  // the partial block has two owners now
  for (size_t group = 0; group < managers_.size(); ++group) {
    const BlockTable& table = child.tables[group];
    for (size_t index = size_t(table.first); index < table.blocks.size(); ++index) {
      managers_[group].share(table.blocks[index]);
    }
  }
}

int32_t KvBlocks::first_live(size_t group, int32_t next) const {
  const int32_t window = infos_[group].window;
  return window == 0 ? 0 : std::max(0, next - window + 1) / block_size(group);
}

void KvBlocks::drop_behind_window(Sequence& sequence, StepId last_plan) {
  if (!has_windows_) return;
  for (size_t group = 0; group < managers_.size(); ++group) {
    if (infos_[group].window == 0) continue;
    BlockTable& table = sequence.tables[group];
    int32_t first = first_live(group, sequence.computed);
    if (fault_ == PlantedFault::window_dropped_early) ++first;
    for (; table.first < std::min(first, int32_t(table.blocks.size())); ++table.first) {
      BlockId& block = table.blocks[size_t(table.first)];
      managers_[group].release(block, last_plan);
      block = -1;
    }
  }
}

void KvBlocks::enroll(Sequence& sequence, int32_t known) {
  int32_t next = std::numeric_limits<int32_t>::max();  // positions that fill the next block
  for (size_t group = 0; group < managers_.size(); ++group) {
    BlockTable& table = sequence.tables[group];
    int32_t full = known / block_size(group);
    if (fault_ == PlantedFault::enrolled_before_computed) {
      full = std::min(int32_t(sequence.tokens.size()) / block_size(group), int32_t(table.blocks.size()));
    }
    for (; table.enrollable && table.enrolled < full; ++table.enrolled) {
      const BlockId block = table.blocks[size_t(table.enrolled)];
      const auto tokens = block_tokens(sequence, table.enrolled, block_size(group));
      const auto key = block < 0 ? std::nullopt : managers_[group].enroll(table.chain, tokens, block);
      table.enrollable = key.has_value();
      if (!table.enrollable) break;
      table.chain = *key;
    }
    if (table.enrollable) next = std::min(next, (table.enrolled + 1) * block_size(group));
  }
  sequence.enroll_from = next;
}

void KvBlocks::forget(const Sequence& sequence) {
  for (size_t group = 0; group < sequence.tables.size(); ++group) {
    for (BlockId block : sequence.tables[group].blocks) {
      if (block >= 0) managers_[group].forget(block);
    }
  }
}

void KvBlocks::release(Sequence& sequence, StepId last_plan) {
  for (size_t group = 0; group < sequence.tables.size(); ++group) {
    const BlockTable& table = sequence.tables[group];
    // Deepest first: of a cached chain the leaves are evicted before what they hang on.
    for (int32_t index = int32_t(table.blocks.size()) - 1; index >= table.first; --index) {
      managers_[group].release(table.blocks[size_t(index)], last_plan);
    }
  }
  if (fault_ != PlantedFault::double_free) sequence.tables.clear();
}

void KvBlocks::retire(StepId step) {
  for (BlockManager& manager : managers_) manager.retire(step);
}

void KvBlocks::verify(const std::vector<SequencePtr>& holders) const {
  for (size_t group = 0; group < managers_.size(); ++group) {
    std::vector<int32_t> owners(size_t(managers_[group].total()));
    for (const SequencePtr& holder : holders) {
      if (holder->tables.empty()) continue;
      for (BlockId block : holder->tables[group].blocks) {
        if (block >= 0) ++owners[size_t(block)];
      }
    }
    managers_[group].verify(owners);
  }
}

}  // namespace trireme
