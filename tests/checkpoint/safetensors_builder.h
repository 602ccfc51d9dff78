#pragma once
// safetensors files, good ones and deliberately bad ones, as bytes.

#include <cstdint>
#include <string>

namespace trireme::test {

inline std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += char(value >> (8 * i));
  return text;
}

inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return little_endian(header.size(), 8) + header + data;
}

// a: F32 [2, 3], b: BF16 [4], c: I64 scalar; 24 + 8 + 8 bytes, byte i is i.
inline std::string good_safetensors() {
  std::string data;
  for (int i = 0; i < 40; ++i) data += char(i);
  return safetensors_bytes(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
                           R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                           R"("c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}} )",
                           data);
}

}  // namespace trireme::test
