#include "base/error.h"
#include "checkpoint/gguf.h"

namespace trireme {
namespace {

const std::string kPrefix = "tokenizer.ggml.";
const std::string kTemplate = "tokenizer.chat_template";

void check_count(const GgufMetadata& metadata, size_t count, size_t tokens, const char* what) {
  if (count == 0 || count == tokens) return;
  throw CheckpointError(metadata.path() + ": " + std::to_string(count) + " " + what + " for " + std::to_string(tokens) +
                        " tokens: the file is damaged; fetch it again");
}

std::optional<bool> maybe_flag(const GgufMetadata& metadata, const std::string& key) {
  if (!metadata.has(key)) return std::nullopt;
  return metadata.flag(key, false);
}

}  // namespace

TokenizerMaterial gguf_tokenizer(const GgufMetadata& metadata) {
  TokenizerMaterial material;
  material.gguf_model = metadata.text(kPrefix + "model", "");
  material.gguf_pre = metadata.text(kPrefix + "pre", "");
  material.tokens = metadata.texts(kPrefix + "tokens");
  material.merges = metadata.texts(kPrefix + "merges");
  const std::vector<int64_t> types = metadata.integers(kPrefix + "token_type");
  check_count(metadata, types.size(), material.tokens.size(), "token types");
  for (const int64_t type : types) material.token_types.push_back(type >= 1 && type <= 6 ? int32_t(type) : 1);
  const std::vector<double> scores = metadata.numbers(kPrefix + "scores");
  check_count(metadata, scores.size(), material.tokens.size(), "scores");
  material.scores.assign(scores.begin(), scores.end());
  const auto count = int64_t(material.tokens.size());
  const auto id = [&](const char* name) {
    const int64_t value = metadata.integer(kPrefix + name, -1, 0xffffffff, -1);
    return value < count ? value : -1;  // 0xffffffff is written for "none"
  };
  material.bos_id = id("bos_token_id");
  material.eos_id = id("eos_token_id");
  material.unknown_id = id("unknown_token_id");
  material.pad_id = id("padding_token_id");
  material.add_bos = maybe_flag(metadata, kPrefix + "add_bos_token");
  material.add_eos = maybe_flag(metadata, kPrefix + "add_eos_token");
  material.add_space_prefix = maybe_flag(metadata, kPrefix + "add_space_prefix");
  material.chat_template = metadata.text(kTemplate, "");
  for (const std::string& key : metadata.keys_below(kTemplate + "."))
    material.named_templates.emplace(key.substr(kTemplate.size() + 1), metadata.text(key, ""));
  return material;
}

}  // namespace trireme
