#pragma once
// What a pre-tokenizer cuts with: a pattern finds its matches from left to right, never
// overlapping. An empty match is a cut.

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace trireme {

struct Span {
  size_t begin, end;  // byte offsets
  size_t size() const { return end - begin; }
};

class PartFields;

class Pattern {
 public:
  virtual ~Pattern() = default;
  // `text` is valid UTF-8. Appends the matches in order.
  virtual void find_matches(std::string_view text, std::vector<Span>& matches) const = 0;
};

std::unique_ptr<Pattern> make_gpt2_pattern();
std::unique_ptr<Pattern> make_literal_pattern(std::string_view literal);
// A hand scanner when the regular expression is a known one, else the own matcher (regex.h) when it can, else PCRE2;
// without PCRE2 a CheckpointError that names the expression and the package.
std::unique_ptr<Pattern> make_regex_pattern(std::string_view expression);
// From {"String": ...} or {"Regex": ...}.
std::unique_ptr<Pattern> make_pattern(const PartFields& fields);
std::unique_ptr<Pattern> make_pcre2_pattern(std::string_view expression);

}  // namespace trireme
