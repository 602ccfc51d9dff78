#pragma once
// Byte-pair encoding: a piece starts as its characters; the adjacent pair of lowest merge rank (leftmost first)
// becomes one token until no pair has a rank.

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/merge_table.h"
#include "text/token_model.h"
#include "text/vocabulary.h"

namespace trireme {

struct BpeOptions {
  bool ignore_merges = false;  // a piece that is a token as a whole stays whole
  bool byte_fallback = false;  // a character without a token becomes its bytes, "<0x0A>", when all have tokens
  bool fuse_unknown = false;   // a run of unknown characters is one unknown token
  std::string unknown_token;   // empty: characters without a token are dropped
};

using BpeMerges = std::vector<std::pair<std::string, std::string>>;  // in order of rank

// Throws CheckpointError when a merge names a token that does not exist.
MergeTable make_merge_table(const Vocabulary& vocabulary, const BpeMerges& merges);
// SentencePiece's rule: two tokens merge when together they are a token that `is_result` accepts, the one of the
// greatest score first. One score for each token.
MergeTable make_scored_merge_table(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                   const std::vector<bool>& is_result);

class BpeModel final : public TokenModel {
 public:
  // `merges` speaks of the ids of `vocabulary`. Throws CheckpointError when the unknown token does not exist.
  BpeModel(Vocabulary vocabulary, MergeTable merges, const BpeOptions& options);

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  bool takes_raw_bytes() const override { return true; }
  void take_raw_bytes() override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Unknown {  // characters without a token that still have to be written as one
    bool waits = false;
  };

  void append_symbols(std::string_view piece, std::vector<int32_t>& ids) const;
  void append_bytes(std::string_view piece, std::vector<int32_t>& ids) const;
  void append_unknown(std::string_view character, Unknown& unknown, std::vector<int32_t>& ids) const;
  void note_whole_tokens();

  Vocabulary vocabulary_;
  std::unique_ptr<const Vocabulary> raw_;  // the tokens as raw bytes; null: pieces are spelled
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};  // of characters of one byte, or of raw bytes
  std::vector<bool> stays_whole_;        // by id: encoding the token's own text gives back just that token
  BpeOptions options_;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> fallback_ids_;  // of "<0x00>" .. "<0xFF>"
};

std::unique_ptr<TokenModel> make_bpe_model(const PartFields& fields);
// "a b" -> {"a", "b"}; `where` names the file in the error.
std::pair<std::string, std::string> split_merge(std::string_view text, const std::string& where);

}  // namespace trireme
