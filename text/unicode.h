#pragma once
// UTF-8 and the Unicode properties that tokenizers and templates ask for. Code points are char32_t; every
// string of this layer is valid UTF-8 once it has passed validate_utf8.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

inline constexpr size_t kValidUtf8 = std::string_view::npos;

// Offset of the first byte that is not part of valid UTF-8 (surrogates and overlong forms are not), or kValidUtf8.
size_t find_invalid_utf8(std::string_view text);

struct DecodedChar {
  char32_t code;
  uint32_t bytes;
};
// The character at `at`; `text` is valid UTF-8 and at < text.size().
DecodedChar decode_char(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t code);

// Code points in valid UTF-8, and the byte offset of the index-th (text.size() past the end).
size_t count_chars(std::string_view text);
size_t char_offset(std::string_view text, size_t index);

enum class Category : uint8_t {
  Cn,
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,
  Sm,
  Sc,
  Sk,
  So,
  Zs,
  Zl,
  Zp,
  Cc,
  Cf,
  Co
};
Category category(char32_t code);
bool is_letter(char32_t code);        // \p{L}
bool is_number(char32_t code);        // \p{N}
bool is_mark(char32_t code);          // \p{M}
bool is_punctuation(char32_t code);   // \p{P}
bool is_space(char32_t code);         // \s as Oniguruma has it: the White_Space property
bool is_python_space(char32_t code);  // str.isspace: also U+001C..1F
bool is_word(char32_t code);          // \w

// Full case mappings without locale, as Python's str methods make them.
std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);
std::string to_title(std::string_view text);        // every word
std::string to_capitalized(std::string_view text);  // first character titled, the rest lower

// Canonical composition (normalization form C).
std::string to_nfc(std::string_view text);

// Bytes that arrive in pieces -> valid UTF-8; what can never become a character is U+FFFD, one for each
// maximal prefix of one, as Rust's from_utf8_lossy and Python's errors="replace" do it.
class Utf8Repair {
 public:
  void append(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  std::string pending_;  // < 4 bytes: the beginning of a character
};

}  // namespace trireme
