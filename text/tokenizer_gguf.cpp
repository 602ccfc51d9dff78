// GGUF's tokenizer.ggml.* fields -> parts: "gpt2" is byte-level BPE with merges, whose pre-tokenizer the file names;
// "llama" is SentencePiece's BPE with scores.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/bpe.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer_readers.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr std::string_view kSpace = "\u2581";  // how SentencePiece spells a space

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
  if (source.gguf_model != "gpt2" && source.gguf_model != "llama")
    throw CheckpointError("GGUF tokenizer.ggml.model \"" + source.gguf_model +
                          "\" is not supported; supported: gpt2, llama");
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
  check_id(source.unknown_id, "unknown_token_id");
}

std::unique_ptr<Normalizer> normalizer_of(json::value description) {
  return make_normalizer(PartFields(description, "GGUF normalizer"));
}
std::unique_ptr<Decoder> decoder_of(json::value description) {
  return make_decoder(PartFields(description, "GGUF decoder"));
}

TokenizerParts byte_level_parts(const TokenizerSource& source) {
  const GgufPreTokenizer& pre = find_gguf_pre_tokenizer(source.gguf_pre);
  BpeMerges merges;
  merges.reserve(source.merges.size());
  for (const auto& merge : source.merges) merges.push_back(split_merge(merge, "GGUF tokenizer.ggml.merges"));
  BpeOptions options;
  options.ignore_merges = pre.ignore_merges;
  Vocabulary vocabulary(source.tokens);
  MergeTable table = make_merge_table(vocabulary, merges);
  TokenizerParts parts;
  parts.model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(table), options);
  const json::value description = describe(pre);
  parts.pre_tokenizer = make_pre_tokenizer(PartFields(description, "GGUF tokenizer.ggml.pre"));
  if (pre.nfc) parts.normalizer = normalizer_of({{"type", "NFC"}});
  parts.decoder = decoder_of({{"type", "ByteLevel"}});
  return parts;
}

void check_scores(const TokenizerSource& source) {
  if (source.scores.size() != source.tokens.size())
    throw CheckpointError("GGUF tokenizer.ggml.scores has " + std::to_string(source.scores.size()) + " entries for " +
                          std::to_string(source.tokens.size()) +
                          " tokens: the model \"llama\" needs one for each; convert the model anew");
  for (const float score : source.scores)
    if (!std::isfinite(score)) throw CheckpointError("GGUF tokenizer.ggml.scores holds a value that is not finite");
}

TokenizerParts sentencepiece_parts(const TokenizerSource& source) {
  check_scores(source);
  std::vector<bool> is_result(source.tokens.size(), true);
  for (size_t id = 0; id < source.token_types.size(); ++id)
    is_result[id] = source.token_types[id] == kNormal || source.token_types[id] == kUserDefined;
  Vocabulary vocabulary(source.tokens);
  MergeTable table = make_scored_merge_table(vocabulary, source.scores, is_result);
  BpeOptions options;
  options.byte_fallback = true;
  options.fuse_unknown = true;
  options.unknown_token = source.tokens[size_t(std::max<int64_t>(source.unknown_id, 0))];  // SentencePiece's is 0
  TokenizerParts parts;
  parts.model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(table), options);
  const bool prefix = source.add_space_prefix.value_or(true);
  json::array normalizers, decoders;
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  parts.normalizer = normalizer_of({{"type", "Sequence"}, {"normalizers", std::move(normalizers)}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}});
  decoders.push_back(json::object{{"type", "ByteFallback"}});
  decoders.push_back(json::object{{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  parts.decoder = decoder_of({{"type", "Sequence"}, {"decoders", std::move(decoders)}});
  return parts;
}

}  // namespace

TokenizerParts read_gguf_tokenizer(const TokenizerSource& source) {
  validate(source);
  TokenizerParts parts = source.gguf_model == "gpt2" ? byte_level_parts(source) : sentencepiece_parts(source);
  parts.added_tokens = added_tokens(source);
  parts.bos_id = source.bos_id;
  parts.eos_id = source.eos_id;
  const bool default_bos = source.gguf_model == "llama" || find_gguf_pre_tokenizer(source.gguf_pre).add_bos;
  const bool bos = source.add_bos.value_or(default_bos) && source.bos_id >= 0;
  const bool eos = source.add_eos.value_or(false) && source.eos_id >= 0;
  if (bos || eos)
    parts.post_processor =
        make_framing_post_processor(bos ? int32_t(source.bos_id) : -1, eos ? int32_t(source.eos_id) : -1);
  return parts;
}

}  // namespace trireme
