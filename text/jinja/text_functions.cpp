#include "text/jinja/text_functions.h"

#include <algorithm>
#include <cstring>

#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme::jinja {

size_t find_bytes(std::string_view bytes, std::string_view wanted, size_t from) {
  if (from > bytes.size()) return std::string::npos;
  if (wanted.empty()) return from;
  const void* found = memmem(bytes.data() + from, bytes.size() - from, wanted.data(), wanted.size());
  return found ? size_t(static_cast<const char*>(found) - bytes.data()) : std::string::npos;
}

// Knuth, Morris and Pratt from the right.
size_t find_last_bytes(std::string_view bytes, std::string_view wanted) {
  if (wanted.size() <= 1 || wanted.size() > bytes.size()) return bytes.rfind(wanted);
  const size_t length = wanted.size();
  const auto wanted_at = [&](size_t i) { return wanted[length - 1 - i]; };
  std::vector<uint32_t> border(length + 1, 0);  // of the first i characters: the longest that also ends them
  for (size_t i = 1, k = 0; i < length; ++i) {
    while (k > 0 && wanted_at(i) != wanted_at(k)) k = border[k];
    k += wanted_at(i) == wanted_at(k);
    border[i + 1] = uint32_t(k);
  }
  for (size_t at = bytes.size(), k = 0; at-- > 0;) {
    while (k > 0 && bytes[at] != wanted_at(k)) k = border[k];
    k += bytes[at] == wanted_at(k);
    if (k == length) return at;
  }
  return std::string::npos;
}

Text strip(const Text& text, const std::string* set, bool left, bool right) {
  const std::string& bytes = text.bytes();
  std::vector<char32_t> codes;
  for (size_t at = 0; set && at < set->size(); at += decode_char(*set, at).bytes)
    codes.push_back(decode_char(*set, at).code);
  std::sort(codes.begin(), codes.end());
  const auto goes = [&](char32_t code) {
    return set ? std::binary_search(codes.begin(), codes.end(), code) : is_python_space(code);
  };
  size_t begin = 0, end = bytes.size();
  while (left && begin < end && goes(decode_char(bytes, begin).code)) begin += decode_char(bytes, begin).bytes;
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (uint8_t(bytes[last]) & 0xC0) == 0x80) --last;
    if (!goes(decode_char(bytes, last).code)) break;
    end = last;
  }
  return text.slice(begin, end);
}

Text replace_all(Budget& budget, const Text& text, const Text& old, const Text& replacement, int64_t count) {
  const std::string& bytes = text.bytes();
  Text out;
  size_t at = 0;
  for (size_t from = 0; count != 0; --count) {
    const size_t found = find_bytes(bytes, old.bytes(), from);
    if (found == std::string::npos) break;
    out.append(text.slice(at, found));
    out.append(replacement);
    budget.step();
    budget.check_text(out.size() > kMaxTextBytes ? out.size() : replacement.size());
    at = found + old.size();
    from = at;
    if (old.size() > 0) continue;
    if (at == bytes.size()) break;  // an empty string matches before every character and at the end
    from = at + decode_char(bytes, at).bytes;
  }
  out.append(text.slice(at, bytes.size()));
  budget.check_text(out.size());
  return out.as_markup(text.is_markup());
}

Values split_lines(Budget& budget, const Text& text, bool keep_ends) {
  const auto ends_line = [](char32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  const std::string& bytes = text.bytes();
  Values lines;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const auto [code, length] = decode_char(bytes, at);
    const size_t line_end = at;
    at += length;
    if (!ends_line(code)) continue;
    if (code == '\r' && at < bytes.size() && bytes[at] == '\n') ++at;
    budget.step();
    lines.emplace_back(text.slice(begin, keep_ends ? at : line_end));
    begin = at;
  }
  if (begin < bytes.size()) lines.emplace_back(text.slice(begin, bytes.size()));
  return lines;
}

Text escape_html(Budget& budget, const Text& text) {
  Text out;
  size_t kept = 0;
  for (size_t at = text.bytes().find_first_of("&<>\"'"); at != std::string::npos;
       at = text.bytes().find_first_of("&<>\"'", at + 1)) {
    out.append(text.slice(kept, at));
    const char c = text.bytes()[at];
    const char* escaped = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : "&#39;";
    out.append(escaped, text.slice(at, at + 1).is_marked());
    kept = at + 1;
  }
  out.append(text.slice(kept, text.size()));
  budget.check_text(out.size());
  return out;
}

Text pad(Budget& budget, const Text& text, int64_t width, char32_t fill, bool left, bool right) {
  const int64_t missing = width - int64_t(count_chars(text.bytes()));
  if (missing <= 0) return text;
  budget.check_text(text.size() + size_t(std::min<int64_t>(missing, kMaxTextBytes)) * 4);
  const int64_t on_left = !left   ? 0
                          : right ? missing / 2 + (missing & width & 1)
                                  : missing;  // as str.center deals them out
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) append_utf8(i < on_left ? before : after, fill);
  Text out;
  out.append(before);
  out.append(text);
  out.append(after);
  return out.as_markup(text.is_markup());
}

}  // namespace trireme::jinja
