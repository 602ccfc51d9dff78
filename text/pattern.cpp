#include "text/pattern.h"

#include <iterator>
#include <string>

#include "base/error.h"
#include "text/part_fields.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace trireme {
namespace {

// A place in the text with the character that stands there; code is 0 with bytes 0 at the end.
struct Cursor {
  std::string_view text;
  size_t at = 0;

  DecodedChar peek(size_t position) const {
    return position < text.size() ? decode_char(text, position) : DecodedChar{0, 0};
  }
  template <typename Predicate>
  size_t skip_while(size_t position, Predicate predicate, size_t limit = size_t(-1)) const {
    for (; limit > 0 && position < text.size(); --limit) {
      const auto [code, bytes] = decode_char(text, position);
      if (!predicate(code)) break;
      position += bytes;
    }
    return position;
  }
};

bool is_newline(char32_t code) { return code == '\r' || code == '\n'; }
bool is_other(char32_t code) {  // [^\s\p{L}\p{N}]
  return !is_space(code) && !is_letter(code) && !is_number(code);
}

// 's 't 're 've 'm 'll 'd, in this order of preference; the position itself when there is none.
size_t after_contraction(const Cursor& cursor, size_t at, bool any_case) {
  if (cursor.peek(at).code != '\'') return at;
  const auto fold = [&](DecodedChar c) -> char32_t {
    if (any_case && c.code >= 'A' && c.code <= 'Z') return c.code + 32;
    if (any_case && c.code == 0x17F) return 's';  // the long s folds to s
    return c.code;
  };
  const auto first = cursor.peek(at + 1);
  const char32_t a = fold(first);
  const size_t next = at + 1 + first.bytes;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return next;
  const auto second = cursor.peek(next);
  const char32_t b = fold(second);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return next + second.bytes;
  return at;
}

// \s+(?!\S)|\s+ : the run, less its last character when something follows and it has more than one.
size_t after_spaces(const Cursor& cursor, size_t at) {
  const size_t end = cursor.skip_while(at, is_space);
  if (end == cursor.text.size()) return end;
  size_t last = end - 1;
  while ((uint8_t(cursor.text[last]) & 0xC0) == 0x80) --last;
  return last > at ? last : end;
}

// A scanner only says where the match that begins at `at` ends; every character belongs to some match.
class ScannerPattern : public Pattern {
 public:
  void find_matches(std::string_view text, std::vector<Span>& matches) const final {
    const Cursor cursor{text};
    for (size_t at = 0; at < text.size();) {
      const size_t end = match_end(cursor, at);
      matches.push_back({at, end});
      at = end;
    }
  }

 protected:
  virtual size_t match_end(const Cursor& cursor, size_t at) const = 0;
};

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
class Gpt2Pattern final : public ScannerPattern {
  size_t match_end(const Cursor& cursor, size_t at) const override {
    if (const size_t end = after_contraction(cursor, at, false); end > at) return end;
    const size_t start = cursor.text[at] == ' ' ? at + 1 : at;
    const auto next = cursor.peek(start);
    if (next.bytes == 0 || is_space(next.code)) return after_spaces(cursor, at);
    if (is_letter(next.code)) return cursor.skip_while(start, is_letter);
    if (is_number(next.code)) return cursor.skip_while(start, is_number);
    return cursor.skip_while(start, is_other);
  }
};

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?L+|\p{N}{1,D}| ?[^\s L \p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// with L = \p{L}, or \p{L}\p{M}; D = 3 for Llama 3, 1 for Qwen.
template <bool marks>
class WordPattern final : public ScannerPattern {
 public:
  explicit WordPattern(size_t max_digits) : max_digits_(max_digits) {}

 private:
  static bool is_word_char(char32_t code) { return is_letter(code) || (marks && is_mark(code)); }
  static bool is_sign(char32_t code) { return is_other(code) && !(marks && is_mark(code)); }

  size_t match_end(const Cursor& cursor, size_t at) const override {
    if (const size_t end = after_contraction(cursor, at, true); end > at) return end;
    const auto current = cursor.peek(at);
    if (is_letter(current.code)) return cursor.skip_while(at, is_word_char);
    if (is_number(current.code)) return cursor.skip_while(at, is_number, max_digits_);
    const auto next = cursor.peek(at + current.bytes);
    if (!is_newline(current.code) && next.bytes > 0 && is_word_char(next.code))
      return cursor.skip_while(at + current.bytes, is_word_char);
    if (is_word_char(current.code)) return at + current.bytes;  // a mark alone
    const size_t start = current.code == ' ' ? at + 1 : at;
    if (const size_t end = cursor.skip_while(start, is_sign); end > start) return cursor.skip_while(end, is_newline);
    return after_blanks(cursor, at);
  }

  // \s*[\r\n]+ first: the run up to and with its last newline.
  static size_t after_blanks(const Cursor& cursor, size_t at) {
    const size_t end = cursor.skip_while(at, is_space);
    const size_t newline = cursor.text.substr(at, end - at).find_last_of("\r\n");
    return newline != std::string_view::npos ? at + newline + 1 : after_spaces(cursor, at);
  }

  size_t max_digits_;
};

// \s+$ where $ is the end of a line: a run up to its last newline, or whole at the end of the text. The general
// matcher would look at a long run again from each of its characters.
class TrailingSpacePattern final : public Pattern {
 public:
  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    const Cursor cursor{text};
    for (size_t at = 0; at < text.size();) {
      const size_t end = cursor.skip_while(at, is_space);
      if (end == at) {
        at += decode_char(text, at).bytes;
        continue;
      }
      const size_t newline = text.substr(at, end - at).rfind('\n');
      if (end == text.size())
        matches.push_back({at, end});
      else if (newline != std::string_view::npos && newline > 0)
        matches.push_back({at, at + newline});
      at = end;
    }
  }
};

class LiteralPattern final : public Pattern {
 public:
  explicit LiteralPattern(std::string_view literal) : literal_(literal) {}
  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    if (literal_.empty()) return;
    for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size()))
      matches.push_back({at, at + literal_.size()});
  }

 private:
  std::string literal_;
};

template <size_t max_digits, bool marks>
std::unique_ptr<Pattern> make_word_pattern() {
  return std::make_unique<WordPattern<marks>>(max_digits);
}

struct KnownExpression {
  std::string_view expression;
  std::unique_ptr<Pattern> (*make)();
};

constexpr KnownExpression kKnownExpressions[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", make_gpt2_pattern},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     make_word_pattern<3, false>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     make_word_pattern<1, false>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     make_word_pattern<1, true>},
    {R"(\s+$)", [] { return std::unique_ptr<Pattern>(std::make_unique<TrailingSpacePattern>()); }},
};

}  // namespace

std::unique_ptr<Pattern> make_gpt2_pattern() { return std::make_unique<Gpt2Pattern>(); }

std::unique_ptr<Pattern> make_literal_pattern(std::string_view literal) {
  return std::make_unique<LiteralPattern>(literal);
}

std::unique_ptr<Pattern> make_regex_pattern(std::string_view expression) {
  for (const auto& known : kKnownExpressions)
    if (known.expression == expression) return known.make();
  if (auto own = make_own_regex_pattern(expression)) return own;
  return make_pcre2_pattern(expression);
}

std::unique_ptr<Pattern> make_pattern(const PartFields& fields) {
  if (fields.find("Regex")) return make_regex_pattern(fields.text("Regex"));
  if (fields.find("String")) return make_literal_pattern(fields.text("String"));
  fields.fail("needs \"Regex\" or \"String\"");
}

}  // namespace trireme
