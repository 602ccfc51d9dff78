#pragma once
// Byte-pair encoding: a piece starts as its characters; the adjacent pair of lowest merge rank (leftmost first)
// becomes one token until no pair has a rank.

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

class BpeModel final : public TokenModel {
 public:
  // Throws CheckpointError when a merge names a token that does not exist.
  BpeModel(std::vector<std::string> tokens, const BpeMerges& merges, const BpeOptions& options);
  ~BpeModel() override;

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank = -1, id = -1;
  };
  class MergeTable;
  class Merger;

  void append_symbols(std::string_view piece, std::vector<int32_t>& symbols) const;
  void append_unknown(std::string_view character, std::vector<int32_t>& symbols) const;

  Vocabulary vocabulary_;
  std::unique_ptr<MergeTable> merges_;
  std::vector<int32_t> ascii_ids_;  // of one-byte characters
  std::vector<bool> stays_whole_;   // by id: encoding the token's own text gives back just that token
  bool byte_fallback_, fuse_unknown_;
  int32_t unknown_id_ = -1;
  std::vector<int32_t> byte_ids_;  // of "<0x00>" .. "<0xFF>"
};

std::unique_ptr<TokenModel> make_bpe_model(const PartFields& fields);
// "a b" -> {"a", "b"}; `where` names the file in the error.
std::pair<std::string, std::string> split_merge(std::string_view text, const std::string& where);

}  // namespace trireme
