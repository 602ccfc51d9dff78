#include "text/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

bool is_blank(char32_t code) { return is_python_space(code); }

size_t skip_blanks(const std::string& source, size_t at) {
  while (at < source.size()) {
    const auto [code, bytes] = decode_char(source, at);
    if (!is_blank(code)) break;
    at += bytes;
  }
  return at;
}

// End of `text` without its trailing white space.
size_t stripped_end(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (uint8_t(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_blank(decode_char(text, begin).code)) break;
    end = begin;
  }
  return end;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    emit(TokenKind::end, "", source_.size());
    return std::move(tokens_);
  }

 private:
  void emit(TokenKind kind, std::string text, size_t offset) { tokens_.push_back({kind, std::move(text), offset}); }
  bool looking_at(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

  // Literal text up to the next tag, then the tag.
  void lex_data() {
    size_t tag = source_.find('{', at_);
    while (tag != std::string::npos &&
           (tag + 1 == source_.size() || std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos))
      tag = source_.find('{', tag + 1);
    if (tag == std::string::npos) {
      emit(TokenKind::data, source_.substr(at_), at_);
      at_ = source_.size();
      return;
    }
    const char opener = source_[tag + 1];
    const size_t begin = at_;
    at_ = tag + 2;
    const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_++] : ' ';
    emit_data(begin, tag, sign, opener != '{');
    line_starting_ = false;
    if (opener == '#')
      lex_comment(tag);
    else if (opener == '{')
      lex_tag(TokenKind::variable_begin, TokenKind::variable_end, "}}", tag);
    else if (!lex_raw(tag))
      lex_tag(TokenKind::block_begin, TokenKind::block_end, "%}", tag);
  }

  // The white space before a tag goes with "-"; before a block also when it starts the line, unless "+".
  void emit_data(size_t begin, size_t end, char sign, bool may_strip_line) {
    std::string text = source_.substr(begin, end - begin);
    if (sign == '-') {
      text.resize(stripped_end(text));
    } else if (sign != '+' && may_strip_line) {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line > 0 || line_starting_) && stripped_end(std::string_view(text).substr(line)) == 0) text.resize(line);
    }
    if (!text.empty()) emit(TokenKind::data, std::move(text), begin);
  }

  // Consumes "-X" with the white space after it, "+X", or "X" with one newline; X closes a block or a comment.
  bool consume_close(std::string_view close, bool trim_newline, bool allow_plus) {
    const size_t start = at_;
    const char sign = at_ < source_.size() ? source_[at_] : '\0';
    if (sign == '-' || (sign == '+' && allow_plus)) ++at_;
    if (!looking_at(close)) return at_ = start, false;
    at_ += close.size();
    if (sign == '-')
      at_ = skip_blanks(source_, at_);
    else if (sign != '+' && trim_newline && at_ < source_.size() && source_[at_] == '\n')
      ++at_;
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void lex_comment(size_t tag) {
    for (; at_ < source_.size(); ++at_)
      if (consume_close("#}", true, true)) return;
    fail_syntax(source_, tag, "missing end of comment tag");
  }

  bool consume_word(std::string_view word) {
    const size_t start = at_;
    at_ = skip_blanks(source_, at_);
    if (!looking_at(word)) return at_ = start, false;
    at_ += word.size();
    at_ = skip_blanks(source_, at_);
    return true;
  }

  // {% raw %} ... {% endraw %}: the text between is data.
  bool lex_raw(size_t tag) {
    const size_t start = at_;
    if (!consume_word("raw") || !consume_close("%}", false, false)) return at_ = start, false;
    const size_t begin = at_;
    for (size_t end = source_.find("{%", at_); end != std::string::npos; end = source_.find("{%", end + 2)) {
      at_ = end + 2;
      const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_++] : ' ';
      const bool before = line_starting_;
      if (!consume_word("endraw") || !consume_close("%}", true, true)) continue;
      const bool after = std::exchange(line_starting_, before);
      emit_data(begin, end, sign, true);
      line_starting_ = after;
      return true;
    }
    fail_syntax(source_, tag, "missing end of raw directive");
  }

  void lex_tag(TokenKind begin_kind, TokenKind end_kind, std::string_view close, size_t tag) {
    const bool is_block = end_kind == TokenKind::block_end;
    emit(begin_kind, "", tag);
    std::string open_brackets;
    while (at_ < source_.size()) {
      const size_t start = at_;
      if (open_brackets.empty() && consume_close(close, is_block, is_block)) return emit(end_kind, "", start);
      at_ = skip_blanks(source_, at_);
      if (at_ > start) continue;
      lex_expression_token(open_brackets);
    }
    fail_syntax(source_, tag,
                is_block ? "this block is never closed with %}" : "this expression is never closed with }}");
  }

  void lex_expression_token(std::string& open_brackets) {
    const char c = source_[at_];
    const auto code = decode_char(source_, at_).code;
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    if (c == '_' || is_letter(code)) return lex_name();
    lex_operator(open_brackets);
  }

  void lex_name() {
    const size_t start = at_;
    while (at_ < source_.size() && is_word(decode_char(source_, at_).code)) at_ += decode_char(source_, at_).bytes;
    emit(TokenKind::name, source_.substr(start, at_ - start), start);
  }

  std::string digits(bool (*accept)(char)) {
    std::string text;
    for (; at_ < source_.size() && (accept(source_[at_]) || (source_[at_] == '_' && !text.empty())); ++at_)
      if (source_[at_] != '_') text += source_[at_];
    return text;
  }

  void lex_number() {
    const size_t start = at_;
    if (looking_at("0x") || looking_at("0X") || looking_at("0b") || looking_at("0o")) {
      at_ += 2;
      std::string text = source_.substr(start, 2) + digits([](char c) { return bool(std::isxdigit(uint8_t(c))); });
      return emit(TokenKind::integer, std::move(text), start);
    }
    std::string text = digits(is_digit);
    bool real = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
      ++at_;
      text += "." + digits(is_digit);
      real = true;
    }
    size_t exponent = at_ + 1;
    if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E') && exponent < source_.size() &&
        is_digit(source_[exponent])) {
      text += source_.substr(at_, exponent - at_);
      at_ = exponent;
      text += digits(is_digit);
      real = true;
    }
    emit(real ? TokenKind::real : TokenKind::integer, std::move(text), start);
  }

  void lex_string() {
    const size_t start = at_;
    const char quote = source_[at_++];
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\')
        append_escape(text);
      else
        text += source_[at_++];
    }
    if (at_ == source_.size()) fail_syntax(source_, start, "this string is never closed");
    ++at_;
    emit(TokenKind::string, std::move(text), start);
  }

  // Python's escapes; an unknown one stays as it is written.
  void append_escape(std::string& text) {
    constexpr std::string_view kNames = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const size_t start = at_++;
    if (at_ == source_.size()) return;
    const char c = source_[at_++];
    if (c == '\n') return;
    if (const size_t index = kNames.find(c); index != std::string_view::npos) {
      text += kMeanings[index];
    } else if (c >= '0' && c <= '7') {
      char32_t code = char32_t(c - '0');
      for (int i = 0; i < 2 && at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '7'; ++i)
        code = code * 8 + char32_t(source_[at_++] - '0');
      append_utf8(text, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      append_utf8(text, hex_code(c == 'x' ? 2 : c == 'u' ? 4 : 8, start));
    } else {
      at_ = start + 1;
      text += '\\';
      text.append(source_, at_, decode_char(source_, at_).bytes);
      at_ += decode_char(source_, at_).bytes;
    }
  }

  char32_t hex_code(int length, size_t start) {
    char32_t code = 0;
    for (int i = 0; i < length; ++i, ++at_) {
      if (at_ >= source_.size() || !std::isxdigit(uint8_t(source_[at_])))
        fail_syntax(source_, start, "truncated escape in a string");
      const char c = source_[at_];
      code = code * 16 + char32_t(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail_syntax(source_, start, "illegal character escape in a string");
    return code;
  }

  void lex_operator(std::string& open_brackets) {
    constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                               "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const auto op : kOperators) {
      if (!looking_at(op)) continue;
      if (op == "(" || op == "[" || op == "{") {
        if (open_brackets.size() >= 1000) fail_syntax(source_, at_, "too many open brackets");
        open_brackets += op == "(" ? ')' : op == "[" ? ']' : '}';
      } else if (op == ")" || op == "]" || op == "}") {
        if (open_brackets.empty() || open_brackets.back() != op[0])
          fail_syntax(source_, at_, "unexpected '" + std::string(op) + "'");
        open_brackets.pop_back();
      }
      emit(TokenKind::op, std::string(op), at_);
      at_ += op.size();
      return;
    }
    fail_syntax(source_, at_, "unexpected character '" + source_.substr(at_, decode_char(source_, at_).bytes) + "'");
  }

  const std::string& source_;
  size_t at_ = 0;
  bool line_starting_ = true;  // what comes next starts a line
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r')
      out += source[i];
    else if (i + 1 == source.size() || source[i + 1] != '\n')
      out += '\n';
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::vector<Token> tokenize(const std::string& source) { return Lexer(source).run(); }

int line_of(const std::string& source, size_t offset) {
  return 1 + int(std::count(source.begin(), source.begin() + std::ptrdiff_t(std::min(offset, source.size())), '\n'));
}

void fail_syntax(const std::string& source, size_t offset, const std::string& problem) {
  offset = std::min(offset, source.size());
  const size_t newline = offset == 0 ? std::string::npos : source.rfind('\n', offset - 1);
  const size_t line_start = newline == std::string::npos ? 0 : newline + 1;
  const size_t column = count_chars(std::string_view(source).substr(line_start, offset - line_start)) + 1;
  throw CheckpointError("the chat template does not parse: " + problem + " at line " +
                        std::to_string(line_of(source, offset)) + ", column " + std::to_string(column));
}

}  // namespace trireme::jinja
