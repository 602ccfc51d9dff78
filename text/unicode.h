#pragma once
// UTF-8 and the Unicode properties that tokenizers and templates ask for. Code points are char32_t; every
// string of this layer is valid UTF-8 once it has passed validate_utf8.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

inline constexpr size_t kValidUtf8 = std::string_view::npos;

// Offset of the first byte that is not part of valid UTF-8 (surrogates and overlong forms are not), or kValidUtf8.
size_t find_invalid_utf8(std::string_view text);

struct DecodedChar {
  char32_t code;
  uint32_t bytes;
};
DecodedChar decode_long_char(std::string_view text, size_t at);  // more than one byte
// The character at `at`; `text` is valid UTF-8 and at < text.size().
inline DecodedChar decode_char(std::string_view text, size_t at) {
  const auto lead = uint8_t(text[at]);
  return lead < 0x80 ? DecodedChar{lead, 1} : decode_long_char(text, at);
}
// Where the character begins that ends right before `at`; at > 0.
inline size_t previous_char(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (uint8_t(text[at]) & 0xC0) == 0x80);
  return at;
}
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
bool is_word(char32_t code);          // \w as Python has it

// Sorted ranges of code points. Names of properties as in expressions: a general category ("Lu", "L", "P"), "Han",
// "space" (\s), "word" (\w as Oniguruma has it); empty when unknown.
struct CodePointRange {
  char32_t first, last;
};
std::vector<CodePointRange> property_ranges(std::string_view name);

// What single stages of `tokenizers` ask, each with the Unicode version that it follows.
bool is_rust_number(char32_t code);                // Digits
bool is_rust_word(char32_t code);                  // Whitespace, and the single_word of added tokens
bool is_split_punctuation(char32_t code);          // Punctuation
bool is_accent(char32_t code);                     // StripAccents
std::string to_rust_lower(std::string_view text);  // Lowercase: each character alone

// Full case mappings without locale, as Python's str methods make them.
std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);
std::string to_title(std::string_view text);        // every word
std::string to_capitalized(std::string_view text);  // first character titled, the rest lower

// The normalization forms with the Unicode version of `tokenizers`.
std::string to_nfc(std::string_view text);
std::string to_nfd(std::string_view text);
std::string to_nfkc(std::string_view text);
std::string to_nfkd(std::string_view text);

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
