#pragma once
// Tokens by id and ids by token. Ids need not be dense: a hole is an empty token.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trireme {

class Vocabulary {
 public:
  // The same token twice keeps its first id (a later one is still spelled by token()).
  explicit Vocabulary(std::vector<std::string> tokens);

  int32_t size() const { return int32_t(tokens_.size()); }
  const std::string& token(int32_t id) const { return tokens_[size_t(id)]; }
  int32_t find(std::string_view token) const;  // -1 when absent

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of tokens_
};

}  // namespace trireme
