#include "gateway/http/http_syntax.h"

#include <algorithm>
#include <array>
#include <limits>

#include "text/unicode.h"

namespace trireme {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

class CharSet {
 public:
  constexpr CharSet(std::initializer_list<std::string_view> parts) {
    for (const std::string_view part : parts) {
      for (const char c : part) has_[uint8_t(c)] = true;
    }
  }
  constexpr bool has(char c) const { return has_[uint8_t(c)]; }
  bool has_all(std::string_view text) const {
    return std::all_of(text.begin(), text.end(), [this](char c) { return has(c); });
  }

 private:
  std::array<bool, 256> has_{};
};

constexpr CharSet kToken{kDigits, kLetters, "!#$%&'*+-.^_`|~"};
constexpr CharSet kHostName{kDigits, kLetters, "-._~%!$&'()*+,;="};
constexpr CharSet kIpLiteral{kDigits, kLetters, ":."};
constexpr CharSet kPath{kDigits, kLetters, "-._~%!$&'()*+,;=:@/"};
constexpr CharSet kQuery{kDigits, kLetters, "-._~%!$&'()*+,;=:@/?[]"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += char(high * 16 + low);
    i += 2;
  }
  return decoded;
}

bool has_hidden_characters(std::string_view path) {
  return std::any_of(path.begin(), path.end(),
                     [](char c) { return uint8_t(c) < 0x20 || uint8_t(c) == 0x7f || c == '\\'; });
}

bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return false;
}

}  // namespace

bool is_token_char(char c) { return kToken.has(c); }
bool is_token(std::string_view text) { return !text.empty() && kToken.has_all(text); }

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (uint8_t(c) >= 0x20 && uint8_t(c) != 0x7f) || c == '\t'; });
}

bool is_host(std::string_view text) {
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return false;
    port = rest.empty() ? rest : rest.substr(1);
    if (!kIpLiteral.has_all(host)) return false;
  } else {
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    if (!kHostName.has_all(host)) return false;
  }
  return !host.empty() && port.size() <= 5 && port.find_first_not_of(kDigits) == std::string_view::npos;
}

bool equals_ignore_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<uint64_t> parse_content_length(std::string_view text) {
  if (text.empty() || text.size() > 19 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + uint64_t(c - '0');
  }
  if (value > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return value;
}

std::optional<uint64_t> parse_chunk_size(std::string_view text) {
  if (text.empty() || text.size() > 16) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    const int digit = hex_value(c);
    if (digit < 0) return std::nullopt;
    value = value * 16 + uint64_t(digit);
  }
  if (value > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return value;
}

std::optional<RequestTarget> parse_target(std::string_view target, bool allow_asterisk) {
  RequestTarget parsed;
  if (allow_asterisk && target == "*") {
    parsed.path = "*";
    return parsed;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equals_ignore_case(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const size_t end = std::min(target.find_first_of("/?"), target.size());
    parsed.authority = target.substr(0, end);
    if (!is_host(parsed.authority)) return std::nullopt;
    target.remove_prefix(end);
    break;
  }
  const size_t mark = target.find('?');
  std::string_view raw_path = target.substr(0, mark);
  if (raw_path.empty() && !parsed.authority.empty()) raw_path = "/";
  const std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  if (!raw_path.starts_with('/') || !kPath.has_all(raw_path) || !kQuery.has_all(query)) return std::nullopt;
  auto path = percent_decoded(raw_path);
  if (!path || has_hidden_characters(*path) || has_dot_segment(*path) || find_invalid_utf8(*path) != kValidUtf8) return std::nullopt;
  parsed.path = std::move(*path);
  parsed.query = query;
  return parsed;
}

}  // namespace trireme
