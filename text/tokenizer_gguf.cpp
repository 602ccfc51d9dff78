// GGUF's tokenizer.ggml.* fields -> parts. The file names its pre-tokenizer; what the name means is in a table,
// written as tokenizer.json would say it.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/bpe.h"
#include "text/tokenizer_readers.h"
#include "text/unicode.h"

namespace trireme {
namespace {

struct GgufPreTokenizer {
  std::string_view name;
  const char* pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // converters left add_bos_token out for these
};

constexpr const char* kGpt2 = R"j({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})j";
constexpr const char* kSingleDigits =
    R"j({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)j"
    R"j({"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})j";
constexpr const char* kLlama3 =
    R"j({"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":)j"
    R"j("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*)j"
    R"j(|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})j";
constexpr const char* kQwen2 =
    R"j({"type":"Sequence","pretokenizers":[{"type":"Split","behavior":"Isolated","pattern":{"Regex":)j"
    R"j("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*)j"
    R"j(|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})j";

// "default" and no name at all are what old converters wrote; GPT-2's rule is the likeliest meaning.
constexpr GgufPreTokenizer kPreTokenizers[] = {
    {"smollm", kSingleDigits},
    {"starcoder", kSingleDigits},
    {"refact", kSingleDigits},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"gpt-2", kGpt2},
    {"default", kGpt2},
    {"", kGpt2},
    {"qwen2", kQwen2},
};

const GgufPreTokenizer& find_pre_tokenizer(const std::string& name) {
  std::string supported;
  for (const auto& row : kPreTokenizers) {
    if (row.name == name) return row;
    if (!row.name.empty()) supported += (supported.empty() ? "" : ", ") + std::string(row.name);
  }
  throw CheckpointError("GGUF tokenizer.ggml.pre \"" + name + "\" is not supported; supported: " + supported);
}

enum TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

std::vector<AddedToken> added_tokens(const TokenizerSource& source) {
  std::vector<AddedToken> added;
  for (size_t id = 0; id < source.token_types.size(); ++id) {
    const int type = source.token_types[id];
    if ((type != kControl && type != kUserDefined && type != kUnknown) || source.tokens[id].empty()) continue;
    AddedToken token;
    token.content = source.tokens[id];
    token.id = int32_t(id);
    token.special = type != kUserDefined;
    added.push_back(std::move(token));
  }
  return added;
}

void validate(const TokenizerSource& source) {
  if (source.gguf_model != "gpt2")
    throw CheckpointError("GGUF tokenizer.ggml.model \"" + source.gguf_model + "\" is not supported; supported: gpt2");
  if (source.tokens.empty()) throw CheckpointError("GGUF tokenizer.ggml.tokens is missing or empty");
  if (!source.token_types.empty() && source.token_types.size() != source.tokens.size())
    throw CheckpointError("GGUF tokenizer.ggml.token_type has " + std::to_string(source.token_types.size()) +
                          " entries for " + std::to_string(source.tokens.size()) + " tokens");
  for (size_t id = 0; id < source.tokens.size(); ++id)
    if (find_invalid_utf8(source.tokens[id]) != kValidUtf8)
      throw CheckpointError("GGUF tokenizer.ggml.tokens: token " + std::to_string(id) + " is not valid UTF-8");
  const auto check_id = [&](int64_t id, const char* name) {
    if (id >= int64_t(source.tokens.size()))
      throw CheckpointError(std::string("GGUF tokenizer.ggml.") + name + " is " + std::to_string(id) +
                            ", but there are only " + std::to_string(source.tokens.size()) + " tokens");
  };
  check_id(source.bos_id, "bos_token_id");
  check_id(source.eos_id, "eos_token_id");
}

}  // namespace

TokenizerParts read_gguf_tokenizer(const TokenizerSource& source) {
  validate(source);
  const GgufPreTokenizer& pre = find_pre_tokenizer(source.gguf_pre);
  BpeMerges merges;
  merges.reserve(source.merges.size());
  for (const auto& merge : source.merges) merges.push_back(split_merge(merge, "GGUF tokenizer.ggml.merges"));
  BpeOptions options;
  options.ignore_merges = pre.ignore_merges;
  TokenizerParts parts;
  parts.model = std::make_unique<BpeModel>(source.tokens, merges, options);
  parts.added_tokens = added_tokens(source);
  const json::value description = parse_json(pre.pre_tokenizer, "pre-tokenizer table");
  parts.pre_tokenizer = make_pre_tokenizer(PartFields(description, "GGUF tokenizer.ggml.pre"));
  const json::value decoder = json::object{{"type", "ByteLevel"}};
  parts.decoder = make_decoder(PartFields(decoder, "GGUF decoder"));
  parts.bos_id = source.bos_id;
  parts.eos_id = source.eos_id;
  if ((source.add_bos || pre.add_bos) && source.bos_id >= 0)
    parts.post_processor = make_prefix_post_processor(int32_t(source.bos_id));
  return parts;
}

}  // namespace trireme
