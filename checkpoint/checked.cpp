#include "checkpoint/checked.h"

namespace trireme {

std::string quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr size_t kMaxBytes = 120;
  std::string result = "\"";
  for (const char c : text.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      result += std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
    else
      result += c;
  }
  return result + (text.size() > kMaxBytes ? "...\"" : "\"");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace trireme
