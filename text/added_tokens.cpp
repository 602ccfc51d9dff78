#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace trireme {
namespace {

// The character that ends right before `at`; at > 0.
DecodedChar char_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (uint8_t(text[begin]) & 0xC0) == 0x80) --begin;
  return decode_char(text, begin);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  for (size_t index = 0; index < tokens_.size(); ++index) {
    const std::string& content = tokens_[index].content;
    if (content.empty()) continue;
    uint32_t node = 0;
    for (const char byte : content) {
      const auto [child, is_new] =
          children_.try_emplace(uint64_t(node) << 8 | uint8_t(byte), uint32_t(token_at_node_.size()));
      if (is_new) token_at_node_.push_back(-1);
      node = child->second;
    }
    token_at_node_[node] = int32_t(index);
    starts_[uint8_t(content[0])] = true;
  }
}

AddedTokenFinder::Match AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  Match best;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto child = children_.find(uint64_t(node) << 8 | uint8_t(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_at_node_[node] >= 0) best = {&tokens_[size_t(token_at_node_[node])], i + 1 - at};
  }
  return best;
}

bool AddedTokenFinder::accepts(const AddedToken& token, std::string_view text, size_t begin, size_t end) const {
  if (!token.single_word) return true;
  if (begin > 0 && is_word(char_before(text, begin).code)) return false;
  return end == text.size() || !is_word(decode_char(text, end).code);
}

void AddedTokenFinder::split(std::string_view text, bool find_special, std::vector<Segment>& segments) const {
  size_t done = 0;  // everything before it is in a segment
  for (size_t at = 0; at < text.size();) {
    const Match match = starts_[uint8_t(text[at])] ? longest_at(text, at) : Match{};
    if (!match.token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.bytes;
    at = end;
    if ((match.token->special && !find_special) || !accepts(*match.token, text, begin, end)) continue;
    if (match.token->lstrip)
      while (begin > done && is_space(char_before(text, begin).code)) begin -= char_before(text, begin).bytes;
    if (match.token->rstrip)
      while (end < text.size() && is_space(decode_char(text, end).code)) end += decode_char(text, end).bytes;
    if (begin > done) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), match.token->id});
    at = done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
}

}  // namespace trireme
