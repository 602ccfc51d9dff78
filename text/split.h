#pragma once
// Cutting pieces with a pattern. The behaviors are those of Hugging Face's Split.

#include <span>
#include <string_view>

#include "text/pre_tokenizer.h"

namespace trireme {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

SplitBehavior read_behavior(const PartFields& fields, std::string_view fallback = "");  // "behavior"
// Cuts every piece; `invert`: what the pattern does not match counts as matched.
void split_pieces(PiecedText& pieced, const Pattern& pattern, SplitBehavior behavior, bool invert);

// Matches each character that the predicate accepts.
class CharPattern final : public Pattern {
 public:
  explicit CharPattern(bool (*accepts)(char32_t)) : accepts_(accepts) {}
  void find_matches(std::string_view text, std::vector<Span>& matches) const override;

 private:
  bool (*accepts_)(char32_t);
};

// The pre-tokenizers that cut at words, spaces and punctuation.
std::span<const PartFactory<std::unique_ptr<PreTokenizer>>> word_pre_tokenizers();

}  // namespace trireme
