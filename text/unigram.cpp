#include "text/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr double kUnknownPenalty = 10;  // below the lowest score

struct BestPath {  // to one place in the piece
  double score = 0;
  size_t begin = size_t(-1);  // of its last token; -1: not reached
  int32_t id = -1;
};

}  // namespace

UnigramModel::UnigramModel(std::vector<std::string> tokens, std::vector<double> scores, const UnigramOptions& options)
    : vocabulary_(std::move(tokens), true), scores_(std::move(scores)), options_(options) {
  if (options.unknown_id >= vocabulary_.size())
    throw CheckpointError("tokenizer unk_id " + std::to_string(options.unknown_id) + " is not one of the " +
                          std::to_string(vocabulary_.size()) + " tokens");
  double lowest = std::numeric_limits<double>::infinity();
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    lowest = std::min(lowest, scores_[size_t(id)]);
    if (!vocabulary_.token(id).empty()) trie_.insert(vocabulary_.token(id), id);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  if (options.byte_fallback) fallback_ids_ = byte_token_ids(vocabulary_);
}

void UnigramModel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  std::vector<BestPath> best(piece.size() + 1);
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    if (best[end].begin != size_t(-1) && score <= best[end].score) return;
    if (id < 0)
      throw RequestError("the tokenizer has no token for \"" + std::string(piece.substr(begin, end - begin)) +
                         "\" and no unknown token");
    best[end] = {score, begin, id};
  };
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = decode_char(piece, at).bytes;
    bool covered = false;
    trie_.visit_prefixes(piece, at, [&](int32_t id, size_t length) {
      offer(at, at + length, scores_[size_t(id)] + best[at].score, id);
      covered = covered || length == bytes;
    });
    if (!covered) offer(at, at + bytes, unknown_score_ + best[at].score, options_.unknown_id);
    at += bytes;
  }
  const size_t first = ids.size();
  for (size_t end = piece.size(); end > 0;) {
    size_t begin = best[end].begin;
    if (best[end].id != options_.unknown_id) {
      ids.push_back(best[end].id);
    } else {  // a run of unknown characters is one
      while (begin > 0 && best[begin].id == options_.unknown_id) begin = best[begin].begin;
      const size_t place = ids.size();
      append_unknown(piece.substr(begin, end - begin), ids);
      std::reverse(ids.begin() + std::ptrdiff_t(place), ids.end());
    }
    end = begin;
  }
  std::reverse(ids.begin() + std::ptrdiff_t(first), ids.end());
}

void UnigramModel::append_unknown(std::string_view run, std::vector<int32_t>& ids) const {
  if (const int32_t id = vocabulary_.find(run); id >= 0) return ids.push_back(id);
  const auto id_of = [&](char byte) { return fallback_ids_[uint8_t(byte)]; };
  if (options_.byte_fallback && std::all_of(run.begin(), run.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (const char byte : run) ids.push_back(id_of(byte));
  } else {
    ids.push_back(options_.unknown_id);
  }
}

std::unique_ptr<TokenModel> make_unigram_model(const PartFields& fields) {
  UnigramOptions options;
  options.byte_fallback = fields.flag_or("byte_fallback", false);
  if (fields.find("unk_id")) options.unknown_id = fields.id("unk_id");
  std::vector<std::string> tokens;
  std::vector<double> scores;
  for (const auto& entry : fields.array("vocab")) {
    const auto* pair = entry.if_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number())
      fields.fail("token " + std::to_string(tokens.size()) + " must be [\"token\", score]");
    tokens.emplace_back((*pair)[0].get_string().c_str(), (*pair)[0].get_string().size());
    scores.push_back((*pair)[1].to_number<double>());
    if (!std::isfinite(scores.back())) fields.fail("a score is not finite");
  }
  return std::make_unique<UnigramModel>(std::move(tokens), std::move(scores), options);
}

}  // namespace trireme
