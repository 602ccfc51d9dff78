#pragma once
// Reading of tests/text/golden, and the small tokenizers in it.

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace trireme::test {

inline std::string golden_path(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/text/golden/" + name;
}
inline json::value golden_json(const std::string& name) { return parse_json(read_text_file(golden_path(name)), name); }

inline std::string text_of(const json::value& value) { return std::string(value.as_string()); }

inline std::vector<int32_t> ids_of(const json::value& value) {
  std::vector<int32_t> ids;
  for (const auto& id : value.as_array()) ids.push_back(int32_t(id.to_number<int64_t>()));
  return ids;
}

// tokenizer.json of one of the golden models ("gpt2", "llama3"), with the parts of `patch` in place of its own.
inline TokenizerSource golden_source(const std::string& model, const json::object& patch = {}) {
  json::value root = golden_json(model + "/tokenizer.json");
  for (const auto& part : patch) root.as_object()[part.key()] = part.value();
  TokenizerSource source;
  source.tokenizer_json = json::serialize(root);
  return source;
}

inline std::unique_ptr<Tokenizer> golden_tokenizer(const std::string& model, const json::object& patch = {}) {
  return make_tokenizer(golden_source(model, patch));
}

}  // namespace trireme::test
