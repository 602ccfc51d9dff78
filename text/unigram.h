#pragma once
// Unigram: of all ways to cut a piece into tokens the one with the greatest sum of scores (float64, as in Hugging
// Face); of equal sums the one found first from the left, with the shorter last token.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/byte_trie.h"
#include "text/token_model.h"
#include "text/vocabulary.h"

namespace trireme {

struct UnigramOptions {
  int32_t unknown_id = -1;     // a character that no token covers; -1: such a text is refused
  bool byte_fallback = false;  // unknown characters become their bytes, "<0x0A>", when all have tokens
};

class UnigramModel final : public TokenModel {
 public:
  // One score for each token. Throws CheckpointError when unknown_id is out of range.
  UnigramModel(std::vector<std::string> tokens, std::vector<double> scores, const UnigramOptions& options);

  // Throws RequestError for a character without a token when there is no unknown token.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void append_unknown(std::string_view run, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;  // by id
  UnigramOptions options_;
  double unknown_score_ = 0;
  ByteTrie trie_;
  std::vector<int32_t> fallback_ids_;
};

std::unique_ptr<TokenModel> make_unigram_model(const PartFields& fields);

}  // namespace trireme
