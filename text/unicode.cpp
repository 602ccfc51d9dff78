#include "text/unicode.h"

#include <algorithm>
#include <iterator>

namespace trireme {
namespace {

// Length of the longest prefix of text[at..] that is, or could become, one character; `complete` tells which.
// 0 when the first byte can start none.
size_t sequence_length(std::string_view text, size_t at, bool& complete) {
  const auto byte = [&](size_t i) { return uint8_t(text[at + i]); };
  const uint8_t lead = byte(0);
  complete = false;
  if (lead < 0x80) return complete = true, 1;
  size_t need = 0;
  uint8_t low = 0x80, high = 0xBF;  // of the second byte
  if (lead >= 0xC2 && lead <= 0xDF)
    need = 2;
  else if (lead >= 0xE0 && lead <= 0xEF)
    need = 3, low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
  else if (lead >= 0xF0 && lead <= 0xF4)
    need = 4, low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
  else
    return 0;
  size_t have = 1;
  for (; have < need && at + have < text.size(); ++have, low = 0x80, high = 0xBF)
    if (byte(have) < low || byte(have) > high) return have;
  complete = have == need;
  return have;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    bool complete = false;
    const size_t length = sequence_length(text, at, complete);
    if (!complete) return at;
    at += length;
  }
  return kValidUtf8;
}

DecodedChar decode_long_char(std::string_view text, size_t at) {
  const auto tail = [&](size_t i) { return char32_t(uint8_t(text[at + i]) & 0x3F); };
  const uint8_t lead = uint8_t(text[at]);
  if (lead < 0xE0) return {char32_t(lead & 0x1F) << 6 | tail(1), 2};
  if (lead < 0xF0) return {char32_t(lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3};
  return {char32_t(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += char(code);
  } else if (code < 0x800) {
    out += {char(0xC0 | code >> 6), char(0x80 | (code & 0x3F))};
  } else if (code < 0x10000) {
    out += {char(0xE0 | code >> 12), char(0x80 | (code >> 6 & 0x3F)), char(0x80 | (code & 0x3F))};
  } else {
    out += {char(0xF0 | code >> 18), char(0x80 | (code >> 12 & 0x3F)), char(0x80 | (code >> 6 & 0x3F)),
            char(0x80 | (code & 0x3F))};
  }
}

size_t count_chars(std::string_view text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (uint8_t(c) & 0xC0) != 0x80; }));
}

size_t char_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += decode_char(text, at).bytes;
  return at;
}

void Utf8Repair::append(std::string_view bytes, std::string& out) {
  pending_ += bytes;
  size_t at = 0;
  while (at < pending_.size()) {
    bool complete = false;
    const size_t length = sequence_length(pending_, at, complete);
    if (complete) {
      out.append(pending_, at, length);
    } else if (length > 0 && at + length == pending_.size()) {
      break;  // may still become a character
    } else {
      append_utf8(out, 0xFFFD);
    }
    at += std::max<size_t>(length, 1);
  }
  pending_.erase(0, at);
}

void Utf8Repair::finish(std::string& out) {
  if (!pending_.empty()) append_utf8(out, 0xFFFD);
  pending_.clear();
}

}  // namespace trireme
