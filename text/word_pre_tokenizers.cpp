// Pre-tokenizers that cut at words, spaces and punctuation.
#include "text/decode_stages.h"
#include "text/split.h"
#include "text/unicode.h"

namespace trireme {
namespace {

// \w+|[^\w\s]+ as Rust's expressions have them; the rest is dropped.
class WordRunPattern final : public Pattern {
 public:
  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    for (size_t at = 0; at < text.size();) {
      const auto [code, bytes] = decode_char(text, at);
      const bool word = is_rust_word(code);
      size_t end = at + bytes;
      if (word || !is_space(code)) {
        for (; end < text.size(); end += decode_char(text, end).bytes) {
          const char32_t next = decode_char(text, end).code;
          if (is_rust_word(next) != word || (!word && is_space(next))) break;
        }
        matches.push_back({at, end});
      }
      at = end;
    }
  }
};

class WhitespacePreTokenizer final : public PreTokenizer {
 public:
  explicit WhitespacePreTokenizer(const PartFields&) {}
  void apply(PiecedText& pieced) const override {
    split_pieces(pieced, WordRunPattern(), SplitBehavior::removed, true);
  }
};

class WhitespaceSplitPreTokenizer final : public PreTokenizer {
 public:
  explicit WhitespaceSplitPreTokenizer(const PartFields&) {}
  void apply(PiecedText& pieced) const override {
    split_pieces(pieced, CharPattern(is_space), SplitBehavior::removed, false);
  }
};

class PunctuationPreTokenizer final : public PreTokenizer {
 public:
  explicit PunctuationPreTokenizer(const PartFields& fields) : behavior_(read_behavior(fields, "Isolated")) {}
  void apply(PiecedText& pieced) const override {
    split_pieces(pieced, CharPattern(is_split_punctuation), behavior_, false);
  }

 private:
  SplitBehavior behavior_;
};

class DelimiterPreTokenizer final : public PreTokenizer {
 public:
  explicit DelimiterPreTokenizer(const PartFields& fields) : pattern_(make_literal_pattern(fields.text("delimiter"))) {}
  void apply(PiecedText& pieced) const override { split_pieces(pieced, *pattern_, SplitBehavior::removed, false); }

 private:
  std::unique_ptr<Pattern> pattern_;
};

// Spaces become a visible character, one is put before the text (or before every piece), and words begin with it.
class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  explicit MetaspacePreTokenizer(const PartFields& fields)
      : replacement_(fields.text_or("replacement", "\u2581")),
        scheme_(read_prepend_scheme(fields)),
        pattern_(fields.flag_or("split", true) ? make_literal_pattern(replacement_) : nullptr) {
    if (count_chars(replacement_) != 1) fields.fail("\"replacement\" must be one character");
  }

  void apply(PiecedText& pieced) const override {
    std::string text;
    text.reserve(pieced.text.size() + pieced.text.size() / 4);
    for (Span& piece : pieced.pieces) {
      const size_t begin = text.size();
      const bool first = pieced.at_start && piece.begin == 0;
      const std::string_view old = std::string_view(pieced.text).substr(piece.begin, piece.size());
      const bool prepend = scheme_ == "always" || (scheme_ == "first" && first);
      if (prepend && !old.starts_with(' ') && !old.starts_with(replacement_)) text += replacement_;
      text += replace_all(old, " ", replacement_);
      piece = {begin, text.size()};
    }
    pieced.text = std::move(text);
    if (pattern_) split_pieces(pieced, *pattern_, SplitBehavior::merged_with_next, false);
  }

 private:
  std::string replacement_, scheme_;
  std::unique_ptr<Pattern> pattern_;
};

template <typename T>
std::unique_ptr<PreTokenizer> make(const PartFields& fields) {
  return std::make_unique<T>(fields);
}

}  // namespace

std::span<const PartFactory<std::unique_ptr<PreTokenizer>>> word_pre_tokenizers() {
  static constexpr PartFactory<std::unique_ptr<PreTokenizer>> kTable[] = {
      {"Metaspace", make<MetaspacePreTokenizer>},
      {"Whitespace", make<WhitespacePreTokenizer>},
      {"WhitespaceSplit", make<WhitespaceSplitPreTokenizer>},
      {"Punctuation", make<PunctuationPreTokenizer>},
      {"CharDelimiterSplit", make<DelimiterPreTokenizer>},
  };
  return kTable;
}

}  // namespace trireme
