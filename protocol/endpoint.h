#pragma once
// Where the front listens and what proves that a dialling process belongs to the attempt. No sockets here.

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

struct FrontEndpoint {
  std::string address;   // "unix:/path" or "tcp:host:port"
  std::string key;       // 32 random bytes as hex, new for every attempt
  uint32_t attempt = 0;  // stands in every frame; frames of another attempt are refused
  bool operator==(const FrontEndpoint&) const = default;
};

// One line, for a broadcast among the ranks of an outer mpirun. parse throws ConfigError.
std::string endpoint_text(const FrontEndpoint& endpoint);
FrontEndpoint parse_endpoint(std::string_view text);

std::string make_attempt_key();                           // from the kernel's random source
bool keys_equal(std::string_view a, std::string_view b);  // in time that depends on the lengths only

}  // namespace trireme
