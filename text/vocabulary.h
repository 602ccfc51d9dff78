#pragma once
// Tokens by id and ids by token. Ids need not be dense: a hole is an empty token.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_index.h"

namespace trireme {

class Vocabulary {
 public:
  // The same token twice keeps its first id (a later one is still spelled by token()), or its last with `last_wins`.
  explicit Vocabulary(std::vector<std::string> tokens, bool last_wins = false)
      : tokens_(std::move(tokens)), index_(tokens_, last_wins) {}

  int32_t size() const { return int32_t(tokens_.size()); }
  const std::string& token(int32_t id) const { return tokens_[size_t(id)]; }
  int32_t find(std::string_view token) const { return index_.find(tokens_, token); }  // -1 when absent

 private:
  std::vector<std::string> tokens_;
  TokenIndex index_;
};

// "<0x00>" .. "<0xFF>" in the vocabulary; -1 for those that are absent.
std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary);

}  // namespace trireme
