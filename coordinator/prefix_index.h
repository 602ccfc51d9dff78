#pragma once
// Which block holds which piece of which prefix. A chain key stands for all tokens up to a block's end, the
// adapter and the salt: key(block) = hash(key(parent), tokens of the block). Matches are verified token by token and
// parent by parent, so a hash collision is a miss and never a wrong answer.

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "coordinator/planted_fault.h"
#include "parallel/plan/plan.h"

namespace trireme {

struct ChainKey {
  uint64_t high = 0, low = 0;
  bool operator==(const ChainKey&) const = default;
};

struct PrefixMatch {
  BlockId block = -1;
  ChainKey key;
};

class PrefixIndex {
 public:
  explicit PrefixIndex(int32_t num_blocks, PlantedFault fault = PlantedFault::none);

  // The parent of a chain's first block. Injective: (group, adapter, salt) fit into the key.
  ChainKey root(uint8_t group, int32_t adapter, uint64_t cache_salt) const;

  std::optional<PrefixMatch> find(const ChainKey& parent, std::span<const TokenId> tokens) const;

  // The chain's next key, and where the index now holds these tokens behind `parent`: in `block`, or already in
  // another one. Nothing when a collision keeps them out: then nothing behind them may be inserted either.
  std::optional<PrefixMatch> insert(const ChainKey& parent, std::span<const TokenId> tokens, BlockId block);

  bool contains(BlockId block) const { return keys_[size_t(block)].has_value(); }
  void erase(BlockId block);  // no effect when it is not there

 private:
  struct Entry {
    BlockId block = -1;
    ChainKey parent;
    std::vector<TokenId> tokens;
  };
  struct KeyHash {
    size_t operator()(const ChainKey& key) const { return size_t(key.low); }
  };
  ChainKey extend(const ChainKey& parent, std::span<const TokenId> tokens) const;
  bool holds(const Entry& entry, const ChainKey& parent, std::span<const TokenId> tokens) const;

  std::unordered_map<ChainKey, Entry, KeyHash> entries_;
  std::vector<std::optional<ChainKey>> keys_;  // by block
  PlantedFault fault_;
};

}  // namespace trireme
