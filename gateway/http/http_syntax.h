#pragma once
// The grammar of RFC 9110, 9112 and 3986 as far as a server needs it: pure functions on single elements.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme {

bool is_token(std::string_view text);             // 1*tchar
bool is_token_char(char c);
bool is_field_value(std::string_view text);       // VCHAR, SP, HTAB, obs-text: no control characters
bool is_host(std::string_view text);              // uri-host [":" port], not empty
bool equals_ignore_case(std::string_view a, std::string_view b);
std::string_view trim_blanks(std::string_view text);  // SP and HTAB, both ends

// 1*DIGIT without a sign, spaces or leading zeros; nothing else, and nothing past 2^63 - 1.
std::optional<uint64_t> parse_content_length(std::string_view text);
// 1*HEXDIG, at most 16 of them; nothing past 2^63 - 1.
std::optional<uint64_t> parse_chunk_size(std::string_view text);

// Calls visit(element) for the trimmed, non-empty elements of a comma-separated field value.
template <typename Visit>
void for_each_element(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view element = trim_blanks(list.substr(0, comma));
    if (!element.empty()) visit(element);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
}

struct RequestTarget {
  std::string path;       // decoded
  std::string query;      // raw
  std::string authority;  // of the absolute form, else empty
};

// Origin form, absolute form (http, https) or, with `allow_asterisk`, "*". Nothing for a target that is malformed, hides
// control characters, a backslash or bytes that are not UTF-8 behind percent signs, or has a segment "." or "..".
std::optional<RequestTarget> parse_target(std::string_view target, bool allow_asterisk);

}  // namespace trireme
