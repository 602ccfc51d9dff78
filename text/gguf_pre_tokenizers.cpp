#include "text/gguf_pre_tokenizers.h"

#include "base/error.h"

namespace trireme {
namespace {

using Expressions = std::string_view[];

constexpr Expressions kLlama3 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Expressions kQwen2 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Expressions kQwen35 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)"};
constexpr Expressions kBailing = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Expressions kGpt4o = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Expressions kTekken = {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                 R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                                 R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Expressions kKimi = {R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
                               R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                               R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
                               R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                               R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

constexpr std::string_view kLetters =
    "\\s?["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
    "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
    "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
    "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+";
constexpr Expressions kDeepSeekLlm = {"[\r\n]", kLetters,
                                      "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$",
                                      "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"};
constexpr Expressions kDeepSeekCoder = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                                        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"};
constexpr Expressions kDeepSeekV3 = {
    "\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"};
constexpr Expressions kFalcon = {R"([\p{P}\$\+<=>\^~\|`]+)",
                                 R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                                 "[0-9][0-9][0-9]"};
constexpr std::string_view kBloomWord = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
constexpr Expressions kBloom = {kBloomWord};
constexpr Expressions kViking = {kBloomWord, "\\p{N}"};

// "default" and no name at all are what old converters wrote; GPT-2's rule is the likeliest meaning.
constexpr GgufPreTokenizer kPreTokenizers[] = {
    {.name = "gpt-2", .expressions = {}, .gpt2 = true},
    {.name = "default", .expressions = {}, .gpt2 = true},
    {.name = "", .expressions = {}, .gpt2 = true},
    {.name = "phi-2", .expressions = {}, .gpt2 = true},
    {.name = "mpt", .expressions = {}, .gpt2 = true},
    {.name = "olmo", .expressions = {}, .gpt2 = true},
    {.name = "jais", .expressions = {}, .gpt2 = true},
    {.name = "exaone4", .expressions = {}, .gpt2 = true},
    {.name = "trillion", .expressions = {}, .gpt2 = true},
    {.name = "smollm", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "starcoder", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "refact", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "codeshell", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "exaone", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "minerva-7b", .expressions = {}, .digits = true, .gpt2 = true},
    {.name = "command-r", .expressions = {}, .digits = true, .gpt2 = true, .nfc = true},
    {.name = "llama-bpe", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon-h1", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "pixtral", .expressions = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .expressions = kLlama3},
    {.name = "smaug-bpe", .expressions = kLlama3},
    {.name = "chatglm-bpe", .expressions = kLlama3, .ignore_merges = true},
    {.name = "glm4", .expressions = kLlama3, .ignore_merges = true},
    {.name = "qwen2", .expressions = kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .expressions = kQwen2, .nfc = true},
    {.name = "stablelm2", .expressions = kQwen2},
    {.name = "megrez", .expressions = kQwen2},
    {.name = "qwen35", .expressions = kQwen35, .nfc = true},
    {.name = "bailingmoe", .expressions = kBailing},
    {.name = "gpt-4o", .expressions = kGpt4o},
    {.name = "llama4", .expressions = kGpt4o, .add_bos = true},
    {.name = "minimax-m2", .expressions = kGpt4o, .nfc = true},
    {.name = "tekken", .expressions = kTekken, .ignore_merges = true},
    {.name = "kimi-k2", .expressions = kKimi},
    {.name = "deepseek-llm", .expressions = kDeepSeekLlm, .digits = true},
    {.name = "deepseek-coder", .expressions = kDeepSeekCoder, .digits = true},
    {.name = "deepseek-v3", .expressions = kDeepSeekV3},
    {.name = "falcon", .expressions = kFalcon},
    {.name = "bloom", .expressions = kBloom},
    {.name = "poro-chat", .expressions = kBloom},
    {.name = "gpt3-finnish", .expressions = kBloom},
    {.name = "viking", .expressions = kViking},
};

}  // namespace

const GgufPreTokenizer& find_gguf_pre_tokenizer(const std::string& name) {
  std::string supported;
  for (const auto& row : kPreTokenizers) {
    if (row.name == name) return row;
    if (!row.name.empty()) supported += (supported.empty() ? "" : ", ") + std::string(row.name);
  }
  throw CheckpointError("GGUF tokenizer.ggml.pre \"" + name + "\" is not supported; supported: " + supported);
}

json::value describe(const GgufPreTokenizer& pre_tokenizer) {
  json::array parts;
  for (const std::string_view expression : pre_tokenizer.expressions)
    parts.push_back({{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", expression}}}});
  if (pre_tokenizer.digits) parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
  parts.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", pre_tokenizer.gpt2}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
}

}  // namespace trireme
