#pragma once
// Template source -> tokens, with the white-space rules of trim_blocks and lstrip_blocks applied.

#include <string>
#include <string_view>
#include <vector>

namespace trireme::jinja {

enum class TokenKind {
  data,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind;
  std::string text;  // strings: unescaped; numbers: without "_"
  size_t offset;     // in the normalized source
};

// "\r\n" and "\r" become "\n", and one newline at the end goes.
std::string normalize_newlines(std::string_view source);

// Throws CheckpointError with line and column. `source` is normalized and valid UTF-8.
std::vector<Token> tokenize(const std::string& source);

int line_of(const std::string& source, size_t offset);
[[noreturn]] void fail_syntax(const std::string& source, size_t offset, const std::string& problem);

}  // namespace trireme::jinja
