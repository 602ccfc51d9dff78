// Recursive descent over the expression; what is not supported is thrown and becomes a null result.
#include <algorithm>
#include <cctype>

#include "text/regex.h"

namespace trireme {
namespace {

constexpr size_t kMaxExpressionBytes = 16 << 10;
constexpr int kMaxSets = 256;
constexpr int kMaxDepth = 32;
constexpr size_t kUnbounded = size_t(-1);

struct Unsupported {};

CharRanges one(char32_t code) { return {{code, code}}; }

// With the other case of every ASCII letter, and the two characters outside of ASCII that fold to one.
CharRanges any_case(const CharRanges& ranges) {
  CharRanges out = ranges;
  const auto has = [&](char32_t code) {
    return std::any_of(ranges.begin(), ranges.end(), [&](auto& r) { return r.first <= code && code <= r.last; });
  };
  for (char32_t lower = 'a'; lower <= 'z'; ++lower) {
    if (!has(lower) && !has(lower - 32)) continue;
    out = united(out, united(one(lower), one(lower - 32)));
    if (lower == 's') out = united(out, one(0x17F));
    if (lower == 'k') out = united(out, one(0x212A));
  }
  return out;
}

class RegexParser {
 public:
  explicit RegexParser(std::string_view text) : text_(text) {}

  RegexAlternatives parse() {
    RegexAlternatives result = alternatives(false);
    if (at_ < text_.size()) throw Unsupported();
    return result;
  }

 private:
  char32_t peek() const { return at_ < text_.size() ? decode_char(text_, at_).code : 0; }
  char32_t next() {
    if (at_ >= text_.size()) throw Unsupported();
    const auto [code, bytes] = decode_char(text_, at_);
    at_ += bytes;
    return code;
  }
  bool take(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    return true;
  }
  void expect(std::string_view expected) {
    if (!take(expected)) throw Unsupported();
  }

  RegexAlternatives alternatives(bool fold) {
    if (++depth_ > kMaxDepth) throw Unsupported();
    RegexAlternatives result;
    do result.sequences.push_back(sequence(fold));
    while (take("|"));
    --depth_;
    return result;
  }

  RegexSequence sequence(bool fold) {
    RegexSequence items;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      RegexItem item = atom(fold);
      quantify(item);
      if (item.kind == RegexItem::Kind::set && ++sets_ > kMaxSets) throw Unsupported();
      if (item.kind == RegexItem::Kind::set) item.set = std::make_unique<CharSet>(item.ranges);
      items.push_back(std::move(item));
    }
    return items;
  }

  RegexItem atom(bool fold) {
    using Kind = RegexItem::Kind;
    if (take("^")) return of_kind(Kind::line_begin);
    if (take("$")) return of_kind(Kind::line_end);
    if (take("\\A")) return of_kind(Kind::text_begin);
    if (take("\\z")) return of_kind(Kind::text_end);
    if (take("(?=")) return group(Kind::look_ahead, fold);
    if (take("(?!")) return group(Kind::not_ahead, fold);
    if (take("(?i:")) return group(Kind::group, true);
    if (take("(?:")) return group(Kind::group, fold);
    if (text_.substr(at_, 2) == "(?") throw Unsupported();
    if (take("(")) return group(Kind::group, fold);
    RegexItem item;
    if (take("["))
      item.ranges = char_class();
    else if (take("."))
      item.ranges = complement(one('\n'));
    else if (take("\\"))
      item.ranges = escape();
    else if (peek() == '*' || peek() == '+' || peek() == '?')
      throw Unsupported();
    else
      item.ranges = one(next());
    if (fold) item.ranges = any_case(item.ranges);
    return item;
  }

  static RegexItem of_kind(RegexItem::Kind kind) {
    RegexItem item;
    item.kind = kind;
    return item;
  }

  RegexItem group(RegexItem::Kind kind, bool fold) {
    RegexItem item = of_kind(kind);
    item.body = std::make_shared<const RegexAlternatives>(alternatives(fold));
    expect(")");
    return item;
  }

  void quantify(RegexItem& item) {
    bool counted = false;
    if (take("?"))
      item.min = 0;
    else if (take("*"))
      item.min = 0, item.max = kUnbounded;
    else if (take("+"))
      item.max = kUnbounded;
    else if (peek() == '{')
      counted = true, counts(item);
    else
      return;
    // In Ruby's syntax {m,n}+ repeats the repetition, which for m <= 1 is any number; {m,n}? is lazy.
    if (take("?"))
      item.mode = RegexItem::Mode::lazy;
    else if (counted && item.min <= 1 && take("+"))
      item.max = kUnbounded;
    else if (!counted && take("+"))
      item.mode = RegexItem::Mode::possessive;
    if (peek() == '?' || peek() == '*' || peek() == '+' || peek() == '{') throw Unsupported();
    if (item.kind == RegexItem::Kind::set) return;
    if (item.kind != RegexItem::Kind::group || item.max != 1 || item.mode == RegexItem::Mode::possessive)
      throw Unsupported();
  }

  void counts(RegexItem& item) {
    expect("{");
    const bool has_min = std::isdigit(int(std::min<char32_t>(peek(), 127))) != 0;
    item.min = has_min ? number() : 0;
    item.max = item.min;
    if (take(",")) {
      const bool has_max = peek() != '}';
      if (!has_min && !has_max) throw Unsupported();
      item.max = has_max ? number() : kUnbounded;
    }
    expect("}");
    if (item.max < item.min || item.max == 0) throw Unsupported();
  }

  size_t number() {
    size_t value = 0;
    if (peek() < '0' || peek() > '9') throw Unsupported();
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + size_t(next() - '0');
      if (value > 100'000) throw Unsupported();
    }
    return value;
  }

  CharRanges escape() {
    const char32_t code = next();
    switch (code) {
      case 's':
        return property_ranges("space");
      case 'S':
        return complement(property_ranges("space"));
      case 'd':
        return property_ranges("Nd");
      case 'D':
        return complement(property_ranges("Nd"));
      case 'w':
        return property_ranges("word");
      case 'W':
        return complement(property_ranges("word"));
      case 'p':
      case 'P':
        return property(code == 'P');
      default:
        return one(escaped_char(code));
    }
  }

  char32_t escaped_char(char32_t code) {
    if (code == 'n') return '\n';
    if (code == 'r') return '\r';
    if (code == 't') return '\t';
    if (code == 'f') return '\f';
    if (code == 'v') return '\v';
    if (code == 'x' || code == 'u') return hex(code);
    if (code >= 0x80 || std::isalnum(int(code))) throw Unsupported();
    return code;
  }

  // \x41, \x{1F600}, \u00e9
  char32_t hex(char32_t kind) {
    const bool braces = kind == 'x' && take("{");
    const size_t limit = braces ? 8 : kind == 'x' ? 2 : 4;
    char32_t value = 0;
    size_t digits = 0;
    for (; digits < limit && peek() < 128 && std::isxdigit(int(peek())); ++digits) {
      const char32_t digit = next();
      value = value * 16 + (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
    }
    if (digits == 0 || (kind == 'u' && digits != 4) || value > 0x10FFFF) throw Unsupported();
    if (kind == 'x' && !braces && value >= 0x80) throw Unsupported();  // a byte, not a character
    if (braces) expect("}");
    return value;
  }

  CharRanges property(bool negated) {
    expect("{");
    if (take("^")) negated = !negated;
    const size_t end = text_.find('}', at_);
    if (end == std::string_view::npos) throw Unsupported();
    const std::string_view name = text_.substr(at_, end - at_);
    at_ = end + 1;
    const CharRanges ranges = name.size() <= 3 ? property_ranges(name) : CharRanges();
    if (ranges.empty()) throw Unsupported();
    return negated ? complement(ranges) : ranges;
  }

  // After "[": up to and with "]".
  CharRanges char_class() {
    if (++depth_ > kMaxDepth) throw Unsupported();
    const bool negated = take("^");
    CharRanges result = class_members();
    while (take("&&")) result = intersected(result, class_members());
    expect("]");
    --depth_;
    return negated ? complement(result) : result;
  }

  CharRanges class_members() {
    CharRanges members;
    bool first = true;
    while (at_ < text_.size() && (peek() != ']' || first) && text_.substr(at_, 2) != "&&") {
      if (text_.substr(at_, 2) == "[:" || (first && peek() == ']')) throw Unsupported();
      first = false;
      members = united(members, class_member());
    }
    return members;
  }

  CharRanges class_member() {
    if (take("[")) return char_class();
    CharRanges from;
    if (take("\\"))
      from = escape();
    else
      from = one(next());
    const bool single = from.size() == 1 && from[0].first == from[0].last;
    if (peek() != '-' || text_.substr(at_, 2) == "-]" || !single) return from;
    expect("-");
    if (peek() == '[') throw Unsupported();
    const CharRanges to = take("\\") ? escape() : one(next());
    if (to.size() != 1 || to[0].first != to[0].last || to[0].first < from[0].first) throw Unsupported();
    return {{from[0].first, to[0].first}};
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0, sets_ = 0;
};

}  // namespace

std::shared_ptr<const RegexAlternatives> parse_regex(std::string_view expression) {
  if (expression.size() > kMaxExpressionBytes || find_invalid_utf8(expression) != kValidUtf8) return nullptr;
  try {
    return std::make_shared<const RegexAlternatives>(RegexParser(expression).parse());
  } catch (const Unsupported&) {
    return nullptr;
  }
}

}  // namespace trireme
