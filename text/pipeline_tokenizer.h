#pragma once
// A tokenizer as a chain of stages: added tokens, normalizer, pre-tokenizer, model, post-processor; and back
// through the decoder. Immutable; any thread.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace trireme {

struct TokenizerParts {
  std::vector<AddedToken> added_tokens;
  std::unique_ptr<Normalizer> normalizer;       // null: the text as it is
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // null: one piece
  std::unique_ptr<TokenModel> model;
  std::unique_ptr<PostProcessor> post_processor;  // null: nothing added
  std::unique_ptr<Decoder> decoder;               // null: tokens with spaces between them
  int64_t bos_id = -1, eos_id = -1;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  std::unique_ptr<DecodeStream> start_decoding(bool skip_special) const override;
  std::string token_bytes(int32_t id) const override;
  std::string first_token_bytes(int32_t id) const override;
  std::string token_text(int32_t id) const override;
  int32_t token_id(std::string_view token) const override;
  bool is_special(int32_t id) const override;
  std::string_view token(int32_t id) const;          // empty for ids out of range and for holes
  std::string_view decoded_token(int32_t id) const;  // what the decoder gets for it
  int32_t vocab_size() const override { return int32_t(tokens_.size()); }
  int64_t bos_id() const override { return parts_.bos_id; }
  int64_t eos_id() const override { return parts_.eos_id; }

 private:
  std::string bytes_of(int32_t id, bool first) const;
  void encode_plain(std::string_view text, size_t offset, std::span<const TextSpan> untrusted,
                    std::vector<int32_t>& ids) const;
  void encode_pieces(std::string_view normalized, bool at_start, std::vector<int32_t>& ids) const;

  TokenizerParts parts_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  std::vector<std::string> tokens_;                             // by id, the model's and the added ones
  std::vector<bool> special_;                                   // by id
  std::unordered_map<int32_t, std::string> normalized_tokens_;  // of added ones that are found in normalized text
  std::unordered_map<std::string, int32_t> added_ids_;          // of the added ones
};

}  // namespace trireme
