#include "coordinator/prefix_index.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 32);
}

}  // namespace

PrefixIndex::PrefixIndex(int32_t num_blocks, PlantedFault fault) : keys_(size_t(num_blocks)), fault_(fault) {
  entries_.reserve(size_t(num_blocks));  // it does not grow in the middle of a step
}

ChainKey PrefixIndex::root(uint8_t group, int32_t adapter, uint64_t cache_salt) const {
  if (fault_ == PlantedFault::salt_ignored) cache_salt = 0;
  if (fault_ == PlantedFault::adapter_ignored) adapter = 0;
  return {cache_salt, uint64_t(group) << 32 | uint32_t(adapter)};
}

ChainKey PrefixIndex::extend(const ChainKey& parent, std::span<const TokenId> tokens) const {
  ChainKey key = fault_ == PlantedFault::parent_ignored ? ChainKey{} : parent;
  for (TokenId token : tokens) {
    key.high = scramble(key.high ^ uint32_t(token));
    key.low = scramble(key.low + 0x9e3779b97f4a7c15u * (uint64_t(uint32_t(token)) + 1));
  }
  return key;
}

bool PrefixIndex::holds(const Entry& entry, const ChainKey& parent, std::span<const TokenId> tokens) const {
  if (entry.parent != parent && fault_ != PlantedFault::parent_ignored) return false;
  return std::ranges::equal(entry.tokens, tokens);
}

std::optional<PrefixMatch> PrefixIndex::find(const ChainKey& parent, std::span<const TokenId> tokens) const {
  const ChainKey key = extend(parent, tokens);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !holds(found->second, parent, tokens)) return std::nullopt;
  return PrefixMatch{found->second.block, key};
}

std::optional<PrefixMatch> PrefixIndex::insert(const ChainKey& parent, std::span<const TokenId> tokens, BlockId block) {
  const ChainKey key = extend(parent, tokens);
  const auto [found, fresh] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (!fresh) return holds(entry, parent, tokens) ? std::optional(PrefixMatch{entry.block, key}) : std::nullopt;
  CHECK(!contains(block)) << "block" << block << "is in the prefix index already";
  entry = {block, parent, {tokens.begin(), tokens.end()}};
  keys_[size_t(block)] = key;
  return PrefixMatch{block, key};
}

void PrefixIndex::erase(BlockId block) {
  std::optional<ChainKey>& key = keys_[size_t(block)];
  if (!key) return;
  entries_.erase(*key);
  key.reset();
}

}  // namespace trireme
