#pragma once
// Tokens that are found in the text as they are written, before anything else looks at it. The longest one wins
// at each place.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/text_span.h"

namespace trireme {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // found in the normalized text, not in the raw one
  bool special = false;
};

// A stretch of text that is one added token (id >= 0), or is still to be encoded (id -1).
struct Segment {
  std::string_view text;
  int32_t id = -1;
};

// Finds one set of added tokens; immutable.
class AddedTokenFinder {
 public:
  // Neither `tokens` nor a `text` is kept.
  explicit AddedTokenFinder(const std::vector<AddedToken>& tokens);
  // Appends the segments of `text`, in order, none empty. Special tokens are ordinary text where any of their bytes
  // are in `untrusted` (in order, apart).
  void split(std::string_view text, std::span<const TextSpan> untrusted, std::vector<Segment>& segments) const;
  bool has_special() const { return has_special_; }

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t bytes = 0;
  };
  Match longest_at(std::string_view text, size_t at) const;
  Match longest_before(std::string_view text, size_t at, size_t special_limit) const;
  bool accepts(const AddedToken& token, std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;          // content -> index into tokens_
  bool starts_[256] = {};  // some token starts with this byte
  bool has_special_ = false;
};

}  // namespace trireme
