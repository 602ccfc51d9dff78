#include "text/pre_tokenizer.h"

#include <iterator>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace trireme {
namespace {

// Cuts every piece with a pattern. The behaviours are those of Hugging Face's Split.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct Part {
  Span span;
  bool matched;
};

// All of [0, size) as matched and unmatched parts, in order.
std::vector<Part> alternate(const std::vector<Span>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const Span& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, invert});
  return parts;
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

void split_pieces(PiecedText& pieced, const Pattern& pattern, SplitBehavior behavior, bool invert) {
  std::vector<Span> pieces, matches;
  pieces.reserve(pieced.pieces.size());
  for (const Span& piece : pieced.pieces) {
    matches.clear();
    pattern.find_matches(std::string_view(pieced.text).substr(piece.begin, piece.size()), matches);
    join_parts(alternate(matches, piece.size(), invert), behavior, piece.begin, pieces);
  }
  pieced.pieces = std::move(pieces);
}

class SplitPreTokenizer final : public PreTokenizer {
 public:
  explicit SplitPreTokenizer(const PartFields& fields)
      : behavior_(parse_behavior(fields)), invert_(fields.flag_or("invert", false)) {
    const PartFields pattern = fields.object("pattern");
    if (pattern.find("Regex"))
      pattern_ = make_regex_pattern(pattern.text("Regex"));
    else if (pattern.find("String"))
      pattern_ = make_literal_pattern(pattern.text("String"));
    else
      pattern.fail("needs \"Regex\" or \"String\"");
  }
  void apply(PiecedText& pieced) const override { split_pieces(pieced, *pattern_, behavior_, invert_); }

 private:
  static SplitBehavior parse_behavior(const PartFields& fields) {
    constexpr std::string_view kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const std::string name = fields.text("behavior");
    for (size_t i = 0; i < std::size(kNames); ++i)
      if (kNames[i] == name) return SplitBehavior(i);
    fields.fail("behavior \"" + name +
                "\" is not one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
  }

  SplitBehavior behavior_;
  bool invert_;
  std::unique_ptr<Pattern> pattern_;
};

class NumberPattern final : public Pattern {
  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    for (size_t at = 0; at < text.size();) {
      const auto [code, bytes] = decode_char(text, at);
      if (is_number(code)) matches.push_back({at, at + bytes});
      at += bytes;
    }
  }
};

class DigitsPreTokenizer final : public PreTokenizer {
 public:
  explicit DigitsPreTokenizer(const PartFields& fields)
      : behavior_(fields.flag_or("individual_digits", false) ? SplitBehavior::isolated : SplitBehavior::contiguous) {}
  void apply(PiecedText& pieced) const override { split_pieces(pieced, NumberPattern(), behavior_, false); }

 private:
  SplitBehavior behavior_;
};

// Cuts with the GPT-2 pattern and spells every byte in the GPT-2 alphabet.
class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  explicit ByteLevelPreTokenizer(const PartFields& fields)
      : add_prefix_space_(fields.flag_or("add_prefix_space", true)),
        pattern_(fields.flag_or("use_regex", true) ? make_gpt2_pattern() : nullptr) {}

  void apply(PiecedText& pieced) const override {
    if (add_prefix_space_) add_prefix_spaces(pieced);
    if (pattern_) split_pieces(pieced, *pattern_, SplitBehavior::isolated, false);
    std::string spelled;
    spelled.reserve(pieced.text.size() + pieced.text.size() / 4);
    for (Span& piece : pieced.pieces) {
      const size_t begin = spelled.size();
      append_byte_level(spelled, std::string_view(pieced.text).substr(piece.begin, piece.size()));
      piece = {begin, spelled.size()};
    }
    pieced.text = std::move(spelled);
  }

 private:
  static void add_prefix_spaces(PiecedText& pieced) {
    std::string text;
    for (Span& piece : pieced.pieces) {
      const size_t begin = text.size();
      if (pieced.text[piece.begin] != ' ') text += ' ';
      text.append(pieced.text, piece.begin, piece.size());
      piece = {begin, text.size()};
    }
    pieced.text = std::move(text);
  }

  bool add_prefix_space_;
  std::unique_ptr<Pattern> pattern_;
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const PartFields& fields) {
    for (const auto& part : fields.array("pretokenizers"))
      parts_.push_back(make_pre_tokenizer(PartFields(part, fields.where() + " pretokenizers")));
  }
  void apply(PiecedText& pieced) const override {
    for (const auto& part : parts_) part->apply(pieced);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

template <typename T>
std::unique_ptr<PreTokenizer> make(const PartFields& fields) {
  return std::make_unique<T>(fields);
}

constexpr PartFactory<std::unique_ptr<PreTokenizer>> kPreTokenizers[] = {
    {"ByteLevel", make<ByteLevelPreTokenizer>},
    {"Split", make<SplitPreTokenizer>},
    {"Digits", make<DigitsPreTokenizer>},
    {"Sequence", make<PreTokenizerSequence>},
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const PartFields& fields) {
  return make_part(std::span<const PartFactory<std::unique_ptr<PreTokenizer>>>(kPreTokenizers), fields);
}

}  // namespace trireme
