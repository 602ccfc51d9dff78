#include "protocol/endpoint.h"

#include <sys/random.h>

#include <charconv>

#include "base/check.h"

namespace trireme {

std::string endpoint_text(const FrontEndpoint& endpoint) {
  return endpoint.address + " " + std::to_string(endpoint.attempt) + " " + endpoint.key;
}

FrontEndpoint parse_endpoint(std::string_view text) {
  const size_t key_at = text.rfind(' ');
  const size_t attempt_at = key_at == std::string_view::npos || key_at == 0 ? key_at : text.rfind(' ', key_at - 1);
  FrontEndpoint endpoint;
  if (attempt_at != std::string_view::npos) {
    const std::string_view attempt = text.substr(attempt_at + 1, key_at - attempt_at - 1);
    const auto [end, error] = std::from_chars(attempt.data(), attempt.data() + attempt.size(), endpoint.attempt);
    endpoint.address = text.substr(0, attempt_at);
    endpoint.key = text.substr(key_at + 1);
    if (error == std::errc() && end == attempt.data() + attempt.size() && !endpoint.address.empty()) return endpoint;
  }
  throw ConfigError("not an address of a front: \"" + std::string(text.substr(0, attempt_at)) + "\"");
}

std::string make_attempt_key() {
  unsigned char bytes[32];
  CHECK_EQ(getrandom(bytes, sizeof bytes, 0), ssize_t(sizeof bytes)) << "getrandom";
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string key;
  for (unsigned char byte : bytes) {
    key += kDigits[byte >> 4];
    key += kDigits[byte & 15];
  }
  return key;
}

bool keys_equal(std::string_view a, std::string_view b) {
  if (a.size() != b.size() || a.empty()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= unsigned(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  return difference == 0;
}

}  // namespace trireme
