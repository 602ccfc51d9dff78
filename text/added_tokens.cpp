#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace trireme {
namespace {

DecodedChar char_before(std::string_view text, size_t at) { return decode_char(text, previous_char(text, at)); }

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  for (size_t index = 0; index < tokens_.size(); ++index) {
    const AddedToken& token = tokens_[index];
    if (token.content.empty()) continue;
    trie_.insert(token.content, int32_t(index));
    starts_[uint8_t(token.content[0])] = true;
    has_special_ = has_special_ || token.special;
  }
}

AddedTokenFinder::Match AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  Match best;
  trie_.visit_prefixes(text, at, [&](int32_t index, size_t bytes) { best = {&tokens_[size_t(index)], bytes}; });
  return best;
}

// The longest one of those that are not special or end by `special_limit`.
AddedTokenFinder::Match AddedTokenFinder::longest_before(std::string_view text, size_t at, size_t special_limit) const {
  Match best;
  trie_.visit_prefixes(text, at, [&](int32_t index, size_t bytes) {
    const AddedToken& token = tokens_[size_t(index)];
    if (!token.special || at + bytes <= special_limit) best = {&token, bytes};
  });
  return best;
}

bool AddedTokenFinder::accepts(const AddedToken& token, std::string_view text, size_t begin, size_t end) const {
  if (!token.single_word) return true;
  if (begin > 0 && is_rust_word(char_before(text, begin).code)) return false;
  return end == text.size() || !is_rust_word(decode_char(text, end).code);
}

void AddedTokenFinder::split(std::string_view text, std::span<const TextSpan> untrusted,
                             std::vector<Segment>& segments) const {
  size_t done = 0;  // everything before it is in a segment
  size_t next_span = 0;
  for (size_t at = 0; at < text.size();) {
    if (!starts_[uint8_t(text[at])]) {
      ++at;
      continue;
    }
    while (next_span < untrusted.size() && untrusted[next_span].end <= at) ++next_span;
    const TextSpan span = next_span < untrusted.size() ? untrusted[next_span] : TextSpan{text.size(), text.size()};
    Match match = longest_at(text, at);
    // A special token that lies wholly in a client's words is skipped as a whole, as Hugging Face skips it; one that
    // only reaches into them must not hide a token that begins within it.
    const bool inside = match.token && span.begin <= at && at + match.bytes <= span.end;
    if (match.token && match.token->special && !inside)
      match = longest_before(text, at, span.begin <= at ? at : span.begin);
    if (!match.token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.bytes;
    at = end;
    if ((match.token->special && inside) || !accepts(*match.token, text, begin, end)) continue;
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
