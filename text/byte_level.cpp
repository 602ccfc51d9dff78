#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/unicode.h"

namespace trireme {
namespace {

constexpr char32_t kAlphabetEnd = 0x144;  // 256 bytes, of which 68 moved to U+0100..0143

bool keeps_its_code(int byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD); }

std::array<std::string, 256> make_spellings() {
  std::array<std::string, 256> spellings;
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    append_utf8(spellings[size_t(byte)], keeps_its_code(byte) ? char32_t(byte) : next++);
  return spellings;
}

std::array<int16_t, kAlphabetEnd> make_bytes() {
  std::array<int16_t, kAlphabetEnd> bytes;
  bytes.fill(-1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) bytes[keeps_its_code(byte) ? size_t(byte) : size_t(next++)] = int16_t(byte);
  return bytes;
}

const std::array<int16_t, kAlphabetEnd>& bytes_of_alphabet() {
  static const auto bytes = make_bytes();
  return bytes;
}

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  static const auto spellings = make_spellings();
  for (const char byte : bytes) out += spellings[uint8_t(byte)];
}

bool is_byte_level(std::string_view token) {
  for (size_t at = 0; at < token.size();) {
    const auto [code, length] = decode_char(token, at);
    if (code >= kAlphabetEnd || bytes_of_alphabet()[code] < 0) return false;
    at += length;
  }
  return true;
}

std::string byte_level_bytes(std::string_view token) {
  if (!is_byte_level(token)) return std::string(token);
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const auto [code, length] = decode_char(token, at);
    out += char(bytes_of_alphabet()[code]);
    at += length;
  }
  return out;
}

}  // namespace trireme
