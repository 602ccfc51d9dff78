#pragma once
// Tokens that are found in the text as they are written, before anything else looks at it. The longest one wins
// at each place.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

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
  // Appends the segments of `text`, in order, none empty. Without `find_special` special tokens are ordinary text.
  void split(std::string_view text, bool find_special, std::vector<Segment>& segments) const;

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t bytes = 0;
  };
  Match longest_at(std::string_view text, size_t at) const;
  bool accepts(const AddedToken& token, std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::vector<int32_t> token_at_node_{-1};           // index into tokens_, or -1
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte -> node; node 0 is the root
  bool starts_[256] = {};                            // some token starts with this byte
};

}  // namespace trireme
