#pragma once
// One id per letter: 'a' is 97. Id 0 is special and has no text.

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace trireme {

class LetterTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& = {}) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(const std::vector<int32_t>& ids, bool = true) const override {
    std::string text;
    for (int32_t id : ids) text += token_bytes(id);
    return text;
  }
  std::string token_bytes(int32_t id) const override {
    return id > 0 && id < 128 ? std::string(1, char(id)) : std::string();
  }
  std::string token_text(int32_t id) const override { return token_bytes(id); }
  int32_t token_id(std::string_view token) const override { return token.size() == 1 ? token[0] : -1; }
  bool is_special(int32_t id) const override { return id == 0; }
  int32_t vocab_size() const override { return 128; }
  int64_t bos_id() const override { return -1; }
  int64_t eos_id() const override { return 0; }
};

}  // namespace trireme
