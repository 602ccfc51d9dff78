#include "text/bpe.h"

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "text/bpe_merger.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace trireme {
namespace {

constexpr size_t kMaxScoredBytes = 256;  // SentencePiece's tokens are shorter; bounds the cuts that are tried

}  // namespace

MergeTable make_merge_table(const Vocabulary& vocabulary, const BpeMerges& merges) {
  MergeTable table(merges.size());
  const auto require = [&](const std::string& token, size_t rank) {
    const int32_t id = vocabulary.find(token);
    if (id < 0)
      throw CheckpointError("tokenizer merge " + std::to_string(rank) + ": token \"" + token +
                            "\" is not in the vocabulary");
    return id;
  };
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    table.insert(require(left, rank), require(right, rank), {int32_t(rank), require(left + right, rank)});
  }
  return table;
}

MergeTable make_scored_merge_table(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                   const std::vector<bool>& is_result) {
  std::vector<float> order(scores);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  struct Entry {
    int32_t left, right;
    Merge merge;
  };
  std::vector<Entry> entries;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view token = vocabulary.token(id);
    if (!is_result[size_t(id)] || token.size() > kMaxScoredBytes || vocabulary.find(token) != id) continue;
    const auto place = std::lower_bound(order.begin(), order.end(), scores[size_t(id)], std::greater<>());
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const int32_t left = vocabulary.find(token.substr(0, cut)), right = vocabulary.find(token.substr(cut));
      if (left >= 0 && right >= 0 && is_result[size_t(left)] && is_result[size_t(right)])
        entries.push_back({left, right, {int32_t(place - order.begin()), id}});
    }
  }
  MergeTable table(entries.size());
  for (const Entry& entry : entries) table.insert(entry.left, entry.right, entry.merge);
  return table;
}

BpeModel::BpeModel(Vocabulary vocabulary, MergeTable merges, const BpeOptions& options)
    : vocabulary_(std::move(vocabulary)), merges_(std::move(merges)), options_(options) {
  for (int c = 0; c < 256; ++c) byte_ids_[size_t(c)] = c < 128 ? vocabulary_.find(std::string(1, char(c))) : -1;
  if (!options.unknown_token.empty()) {
    unknown_id_ = vocabulary_.find(options.unknown_token);
    if (unknown_id_ < 0)
      throw CheckpointError("tokenizer unk_token \"" + options.unknown_token + "\" is not in the vocabulary");
  }
  if (options.byte_fallback) fallback_ids_ = byte_token_ids(vocabulary_);
  note_whole_tokens();
}

void BpeModel::take_raw_bytes() {
  std::vector<std::string> raw(size_t(vocabulary_.size()));
  for (int32_t id = 0; id < vocabulary_.size(); ++id)
    if (is_byte_level(vocabulary_.token(id))) raw[size_t(id)] = byte_level_bytes(vocabulary_.token(id));
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    append_byte_level(spelled, std::string(1, char(byte)));
    byte_ids_[size_t(byte)] = vocabulary_.find(spelled);
  }
  raw_ = std::make_unique<const Vocabulary>(std::move(raw));  // which tokens stay whole is the same question
}

// What most pieces of ordinary text need is then a single look-up.
void BpeModel::note_whole_tokens() {
  stays_whole_.assign(size_t(vocabulary_.size()), false);
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string& token = vocabulary_.token(id);
    if (token.empty() || vocabulary_.find(token) != id) continue;
    if (!options_.ignore_merges) {
      ids.clear();
      encode(token, ids);
    }
    stays_whole_[size_t(id)] = options_.ignore_merges || (ids.size() == 1 && ids[0] == id);
  }
}

void BpeModel::append_unknown(std::string_view character, Unknown& unknown, std::vector<int32_t>& ids) const {
  const auto id_of = [&](char byte) { return fallback_ids_[uint8_t(byte)]; };
  if (options_.byte_fallback &&
      std::all_of(character.begin(), character.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (const char byte : character) ids.push_back(id_of(byte));
    return;
  }
  if (unknown_id_ < 0) return;
  if (unknown.waits && !options_.fuse_unknown) ids.push_back(unknown_id_);
  unknown.waits = true;
}

void BpeModel::append_symbols(std::string_view piece, std::vector<int32_t>& ids) const {
  Unknown unknown;
  const auto end_unknown = [&] {
    if (unknown.waits) ids.push_back(unknown_id_);
    unknown.waits = false;
  };
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = decode_char(piece, at).bytes;
    const std::string_view character = piece.substr(at, bytes);
    const int32_t id = bytes == 1 && !raw_ ? byte_ids_[uint8_t(piece[at])] : vocabulary_.find(character);
    if (id >= 0) {
      end_unknown();
      ids.push_back(id);
    } else {
      append_unknown(character, unknown, ids);
    }
    at += bytes;
  }
  end_unknown();
}

void BpeModel::append_bytes(std::string_view piece, std::vector<int32_t>& ids) const {
  const size_t begin = ids.size();
  for (const char byte : piece) {
    ids.push_back(byte_ids_[uint8_t(byte)]);
    if (ids.back() >= 0) continue;
    std::string spelled;  // some byte has no token: the slow way, as Hugging Face goes it
    append_byte_level(spelled, piece);
    ids.resize(begin);
    return append_symbols(spelled, ids);
  }
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  const int32_t whole = raw_ ? raw_->find(piece) : vocabulary_.find(piece);
  if (whole >= 0 && stays_whole_[size_t(whole)]) return ids.push_back(whole);
  const size_t begin = ids.size();
  if (raw_)
    append_bytes(piece, ids);
  else
    append_symbols(piece, ids);
  merge_ids(merges_, ids, begin);
}

}  // namespace trireme
