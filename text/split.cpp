#include "text/split.h"

#include <iterator>

#include "text/unicode.h"

namespace trireme {
namespace {

struct Part {
  Span span;
  bool matched;
};

// All of [0, size) as matched and unmatched parts, in order.
void alternate(const std::vector<Span>& matches, size_t size, bool invert, std::vector<Part>& parts) {
  parts.clear();
  size_t at = 0;
  for (const Span& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, invert});
}

void join_parts(const std::vector<Part>& parts, SplitBehavior behavior, size_t offset, std::vector<Span>& pieces) {
  bool previous_matched = false, open = false;  // open: the last piece may still grow
  for (const auto& [span, matched] : parts) {
    bool extend = false;
    if (behavior == SplitBehavior::removed && matched) continue;
    if (behavior == SplitBehavior::merged_with_previous) extend = open && matched && !previous_matched;
    if (behavior == SplitBehavior::merged_with_next) extend = open && !matched && previous_matched;
    if (behavior == SplitBehavior::contiguous) extend = open && matched == previous_matched;
    if (extend)
      pieces.back().end = offset + span.end;
    else
      pieces.push_back({offset + span.begin, offset + span.end});
    previous_matched = matched;
    open = true;
  }
}

void isolate(const std::vector<Span>& matches, size_t size, size_t offset, std::vector<Span>& pieces) {
  size_t at = 0;
  for (const Span& match : matches) {
    if (match.begin > at) pieces.push_back({offset + at, offset + match.begin});
    if (match.size() > 0) pieces.push_back({offset + match.begin, offset + match.end});
    at = match.end;
  }
  if (at < size) pieces.push_back({offset + at, offset + size});
}

}  // namespace

SplitBehavior read_behavior(const PartFields& fields, std::string_view fallback) {
  constexpr std::string_view kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const std::string name = fallback.empty() ? fields.text("behavior") : fields.text_or("behavior", fallback);
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == name) return SplitBehavior(i);
  fields.fail("behavior \"" + name +
              "\" is not one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

void split_pieces(PiecedText& pieced, const Pattern& pattern, SplitBehavior behavior, bool invert) {
  std::vector<Span> pieces, matches;
  std::vector<Part> parts;
  pieces.reserve(pieced.pieces.size());
  for (const Span& piece : pieced.pieces) {
    matches.clear();
    pattern.find_matches(std::string_view(pieced.text).substr(piece.begin, piece.size()), matches);
    if (behavior == SplitBehavior::isolated) {
      isolate(matches, piece.size(), piece.begin, pieces);
    } else {
      alternate(matches, piece.size(), invert, parts);
      join_parts(parts, behavior, piece.begin, pieces);
    }
  }
  std::erase_if(pieces, [](const Span& piece) { return piece.size() == 0; });
  pieced.pieces = std::move(pieces);
}

void CharPattern::find_matches(std::string_view text, std::vector<Span>& matches) const {
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    if (accepts_(code)) matches.push_back({at, at + bytes});
    at += bytes;
  }
}

}  // namespace trireme
