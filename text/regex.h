#pragma once
// The part of Oniguruma's expressions (Ruby syntax) that tokenizers are written in, as a backtracking matcher:
//   alternatives, groups (?:x) (x) (?i:x), character sets with ranges, \p{..}, negation, nesting and &&,
//   escapes \s \S \d \D \w \W \r \n \t, the quantifiers ? * + {m,n} of sets, ? of groups, lazy and possessive ones,
//   (?=x) (?!x), and ^ $ \A \z, where ^ and $ are the ends of lines.
// Not: back references, looking behind, repeated groups.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/char_set.h"
#include "text/pattern.h"

namespace trireme {

struct RegexAlternatives;

struct RegexItem {
  enum class Kind { set, group, look_ahead, not_ahead, line_begin, line_end, text_begin, text_end };
  enum class Mode { greedy, lazy, possessive };
  Kind kind = Kind::set;
  Mode mode = Mode::greedy;
  size_t min = 1, max = 1;                        // characters of a set; a group is there 0 or 1 times, or once
  CharRanges ranges;                              // set
  std::unique_ptr<CharSet> set;                   // of `ranges`
  std::shared_ptr<const RegexAlternatives> body;  // group, look ahead
};
using RegexSequence = std::vector<RegexItem>;
struct RegexAlternatives {
  std::vector<RegexSequence> sequences;
};

// Null when the expression has something that is not supported.
std::shared_ptr<const RegexAlternatives> parse_regex(std::string_view expression);

// Null when the expression has something that is not supported.
std::unique_ptr<Pattern> make_own_regex_pattern(std::string_view expression);

}  // namespace trireme
