#pragma once
// The bearer keys that open guarded routes. Never logged, never part of an error.

#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/exchange.h"
#include "gateway/http/http_options.h"

namespace trireme {

// Whether the two are equal, in a time that depends on neither. At most kMaxKeyBytes each.
inline constexpr size_t kMaxKeyBytes = 256;
bool equal_in_constant_time(std::string_view a, std::string_view b);

class ApiKeys {
 public:
  // Reads the key files. Throws ConfigError: unreadable file, empty file, a key that no header can carry.
  explicit ApiKeys(const KeyOptions& options);

  // `authorization`: the field's value or null. Metrics routes open to API keys too.
  bool allows(Access access, const std::string* authorization) const;

 private:
  std::vector<std::string> api_keys_, metrics_keys_;
};

// TRIREME_API_KEY, else VLLM_API_KEY, if set and not empty.
std::vector<std::string> api_keys_from_environment();

}  // namespace trireme
