#include "gateway/http/api_keys.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "gateway/http/http_syntax.h"

namespace trireme {
namespace {

constexpr size_t kMaxKeys = 10'000;

bool is_key(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKeyBytes &&
         std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

void require_key(const std::string& key, const std::string& source) {
  if (is_key(key)) return;
  throw ConfigError(source + ": a key must be 1 to " + std::to_string(kMaxKeyBytes) +
                    " printable ASCII characters without spaces");
}

void append_key_file(const std::string& path, std::vector<std::string>& keys) {
  if (path.empty()) return;
  std::ifstream file(path);
  if (!file) throw ConfigError("cannot read the key file " + path + ": check that it exists and is readable");
  const size_t before = keys.size();
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    require_key(line, path);
    if (keys.size() >= kMaxKeys) throw ConfigError(path + ": more than " + std::to_string(kMaxKeys) + " keys");
    keys.push_back(line);
  }
  // An empty file must not open the server to everyone.
  if (keys.size() == before) throw ConfigError("the key file " + path + " holds no key: one key a line");
}

// The token of "Bearer TOKEN", empty if it is something else.
std::string_view bearer_token(const std::string* authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (!authorization) return {};
  const std::string_view value = *authorization;
  if (value.size() <= kScheme.size() || !equals_ignore_case(value.substr(0, kScheme.size()), kScheme)) return {};
  return trim_blanks(value.substr(kScheme.size()));
}

// No early exit: the time tells neither which key matched nor how far one did.
bool is_one_of(const std::vector<std::string>& keys, std::string_view presented) {
  bool found = false;
  for (const std::string& key : keys) found |= equal_in_constant_time(key, presented);
  return found;
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() > kMaxKeyBytes || b.size() > kMaxKeyBytes) return false;
  std::array<char, kMaxKeyBytes> left{}, right{};
  std::copy(a.begin(), a.end(), left.begin());
  std::copy(b.begin(), b.end(), right.begin());
  volatile uint8_t difference = uint8_t(a.size() != b.size());
  for (size_t i = 0; i < kMaxKeyBytes; ++i) difference = uint8_t(difference | uint8_t(left[i] ^ right[i]));
  return difference == 0;
}

ApiKeys::ApiKeys(const KeyOptions& options) : api_keys_(options.api_keys), metrics_keys_(options.metrics_keys) {
  for (const std::string& key : api_keys_) require_key(key, "--api-key");
  for (const std::string& key : metrics_keys_) require_key(key, "--metrics-key");
  append_key_file(options.api_key_file, api_keys_);
  append_key_file(options.metrics_key_file, metrics_keys_);
}

bool ApiKeys::allows(Access access, const std::string* authorization) const {
  const std::vector<std::string>& guard = access == Access::metrics_key ? metrics_keys_ : api_keys_;
  if (access == Access::open || guard.empty()) return true;
  const std::string_view token = bearer_token(authorization);
  bool allowed = is_one_of(guard, token);
  if (access == Access::metrics_key) allowed |= is_one_of(api_keys_, token);
  return allowed && !token.empty();
}

std::vector<std::string> api_keys_from_environment() {
  for (const char* name : {"TRIREME_API_KEY", "VLLM_API_KEY"}) {
    const char* value = std::getenv(name);
    if (value && *value) return {value};
  }
  return {};
}

}  // namespace trireme
