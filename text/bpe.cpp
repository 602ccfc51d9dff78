#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme {

// Pair of ids -> merge, open addressing: the innermost look-up of encoding.
class BpeModel::MergeTable {
 public:
  explicit MergeTable(size_t merges) : slots_(std::bit_ceil(std::max<size_t>(merges * 2, 16))) {}

  void insert(int32_t left, int32_t right, Merge merge) {  // the first of equals stays
    size_t at = home(key(left, right));
    for (; slots_[at].merge.rank >= 0; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].key == key(left, right)) return;
    slots_[at] = {key(left, right), merge};
  }
  Merge find(int32_t left, int32_t right) const {
    const uint64_t wanted = key(left, right);
    for (size_t at = home(wanted); slots_[at].merge.rank >= 0; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].key == wanted) return slots_[at].merge;
    return {};
  }

 private:
  struct Slot {
    uint64_t key = 0;
    Merge merge;
  };
  static uint64_t key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }
  size_t home(uint64_t key) const { return size_t((key * 0x9E3779B97F4A7C15u) >> 20) & (slots_.size() - 1); }

  std::vector<Slot> slots_;
};

// Merges a sequence of ids in place. Short pieces rescan their ranks after each merge; long ones keep a heap, so
// that a piece of n characters costs O(n log n).
class BpeModel::Merger {
 public:
  explicit Merger(const MergeTable& table) : table_(table) {}

  void run(std::vector<int32_t>& symbols) {
    if (symbols.size() <= kShortPiece)
      merge_short(symbols);
    else
      merge_long(symbols);
  }

 private:
  static constexpr size_t kShortPiece = 32;

  void merge_short(std::vector<int32_t>& symbols) {
    Merge candidates[kShortPiece];
    for (size_t i = 0; i + 1 < symbols.size(); ++i) candidates[i] = table_.find(symbols[i], symbols[i + 1]);
    while (symbols.size() > 1) {
      size_t best = symbols.size();
      for (size_t i = 0; i + 1 < symbols.size(); ++i)
        if (candidates[i].rank >= 0 && (best == symbols.size() || candidates[i].rank < candidates[best].rank)) best = i;
      if (best == symbols.size()) return;
      symbols[best] = candidates[best].id;
      symbols.erase(symbols.begin() + std::ptrdiff_t(best) + 1);
      std::copy(candidates + best + 1, candidates + symbols.size(), candidates + best);
      if (best > 0) candidates[best - 1] = table_.find(symbols[best - 1], symbols[best]);
      if (best + 1 < symbols.size()) candidates[best] = table_.find(symbols[best], symbols[best + 1]);
    }
  }

  struct Node {  // of a doubly linked list over the piece; id -1: merged away
    int32_t id, previous, next;
  };
  struct Candidate {
    int32_t rank, position, id;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  void offer(int32_t left) {
    const int32_t right = left < 0 ? -1 : nodes_[size_t(left)].next;
    if (right < 0) return;
    const Merge merge = table_.find(nodes_[size_t(left)].id, nodes_[size_t(right)].id);
    if (merge.rank >= 0) heap_.push({merge.rank, left, merge.id});
  }

  void merge_long(std::vector<int32_t>& symbols) {
    const int32_t count = int32_t(symbols.size());
    nodes_.resize(symbols.size());
    for (int32_t i = 0; i < count; ++i) nodes_[size_t(i)] = {symbols[size_t(i)], i - 1, i + 1 < count ? i + 1 : -1};
    for (int32_t i = 0; i + 1 < count; ++i) offer(i);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      apply(best);
    }
    symbols.clear();
    for (const Node& node : nodes_)
      if (node.id >= 0) symbols.push_back(node.id);
  }

  void apply(const Candidate& candidate) {
    Node& left = nodes_[size_t(candidate.position)];
    if (left.id < 0 || left.next < 0) return;
    Node& right = nodes_[size_t(left.next)];
    const Merge current = table_.find(left.id, right.id);  // the neighbours may have changed since it was offered
    if (current.rank != candidate.rank) return;
    left.id = candidate.id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) nodes_[size_t(left.next)].previous = candidate.position;
    offer(left.previous);
    offer(candidate.position);
  }

  const MergeTable& table_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap_;
};

BpeModel::BpeModel(std::vector<std::string> tokens, const BpeMerges& merges, const BpeOptions& options)
    : vocabulary_(std::move(tokens)),
      merges_(std::make_unique<MergeTable>(merges.size())),
      byte_fallback_(options.byte_fallback),
      fuse_unknown_(options.fuse_unknown) {
  const auto require = [&](const std::string& token, size_t rank) {
    const int32_t id = vocabulary_.find(token);
    if (id < 0)
      throw CheckpointError("tokenizer merge " + std::to_string(rank) + ": token \"" + token +
                            "\" is not in the vocabulary");
    return id;
  };
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    merges_->insert(require(left, rank), require(right, rank), {int32_t(rank), require(left + right, rank)});
  }
  for (int c = 0; c < 128; ++c) ascii_ids_.push_back(vocabulary_.find(std::string(1, char(c))));
  if (!options.unknown_token.empty()) {
    unknown_id_ = vocabulary_.find(options.unknown_token);
    if (unknown_id_ < 0)
      throw CheckpointError("tokenizer unk_token \"" + options.unknown_token + "\" is not in the vocabulary");
  }
  if (byte_fallback_) {
    constexpr char kHex[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte)
      byte_ids_.push_back(vocabulary_.find(std::string{'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'}));
  }
  // What most pieces of ordinary text need is then a single look-up.
  stays_whole_.resize(size_t(vocabulary_.size()));
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string& token = vocabulary_.token(id);
    if (token.empty() || vocabulary_.find(token) != id) continue;
    ids.clear();
    encode(token, ids);
    stays_whole_[size_t(id)] = options.ignore_merges || (ids.size() == 1 && ids[0] == id);
  }
}

BpeModel::~BpeModel() = default;

void BpeModel::append_unknown(std::string_view character, std::vector<int32_t>& symbols) const {
  const auto id_of = [&](char byte) { return byte_ids_[uint8_t(byte)]; };
  if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (const char byte : character) symbols.push_back(id_of(byte));
  } else if (unknown_id_ >= 0 && !(fuse_unknown_ && !symbols.empty() && symbols.back() == unknown_id_)) {
    symbols.push_back(unknown_id_);
  }
}

void BpeModel::append_symbols(std::string_view piece, std::vector<int32_t>& symbols) const {
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = decode_char(piece, at).bytes;
    const std::string_view character = piece.substr(at, bytes);
    const int32_t id = bytes == 1 ? ascii_ids_[uint8_t(piece[at])] : vocabulary_.find(character);
    if (id >= 0)
      symbols.push_back(id);
    else
      append_unknown(character, symbols);
    at += bytes;
  }
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (const int32_t whole = vocabulary_.find(piece); whole >= 0 && stays_whole_[size_t(whole)])
    return ids.push_back(whole);
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  append_symbols(piece, symbols);
  Merger(*merges_).run(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace trireme
