#pragma once
// What the names in GGUF's tokenizer.ggml.pre mean.

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"

namespace trireme {

struct GgufPreTokenizer {
  std::string_view name;
  std::span<const std::string_view> expressions;  // each cuts the pieces that the one before left
  bool digits = false;                            // then every digit alone
  bool gpt2 = false;                              // then GPT-2's pattern
  bool ignore_merges = false;
  bool add_bos = false;  // when the file does not say
  bool nfc = false;      // the text is normalized first
};

// Throws CheckpointError that lists the known names.
const GgufPreTokenizer& find_gguf_pre_tokenizer(const std::string& name);
// As tokenizer.json would say it.
json::value describe(const GgufPreTokenizer& pre_tokenizer);

}  // namespace trireme
