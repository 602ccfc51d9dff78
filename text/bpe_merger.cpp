#include "text/bpe_merger.h"

#include <queue>

namespace trireme {
namespace {

constexpr int32_t kShortPiece = 48;

// Returns the new count.
int32_t merge_short(const MergeTable& table, int32_t* ids, int32_t count) {
  Merge candidates[kShortPiece];
  for (int32_t i = 0; i + 1 < count; ++i) candidates[i] = table.find(ids[i], ids[i + 1]);
  while (count > 1) {
    int32_t best = -1;
    uint32_t best_rank = uint32_t(-1);  // no merge: rank -1
    for (int32_t i = 0; i + 1 < count; ++i)
      if (uint32_t(candidates[i].rank) < best_rank) best = i, best_rank = uint32_t(candidates[i].rank);
    if (best < 0) break;
    ids[best] = candidates[best].id;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    std::copy(candidates + best + 1, candidates + count - 1, candidates + best);
    --count;
    if (best > 0) candidates[best - 1] = table.find(ids[best - 1], ids[best]);
    if (best + 1 < count) candidates[best] = table.find(ids[best], ids[best + 1]);
  }
  return count;
}

class LongMerger {
 public:
  explicit LongMerger(const MergeTable& table) : table_(table) {}

  void run(std::vector<int32_t>& ids, size_t begin) {
    const auto count = int32_t(ids.size() - begin);
    nodes_.resize(size_t(count));
    for (int32_t i = 0; i < count; ++i) nodes_[size_t(i)] = {ids[begin + size_t(i)], i - 1, i + 1 < count ? i + 1 : -1};
    for (int32_t i = 0; i + 1 < count; ++i) offer(i);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      apply(best);
    }
    ids.resize(begin);
    for (const Node& node : nodes_)
      if (node.id >= 0) ids.push_back(node.id);
  }

 private:
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

  void apply(const Candidate& candidate) {
    Node& left = nodes_[size_t(candidate.position)];
    if (left.id < 0 || left.next < 0) return;
    Node& right = nodes_[size_t(left.next)];
    const Merge current = table_.find(left.id, right.id);  // the neighbours may have changed since it was offered
    if (current.rank != candidate.rank || current.id != candidate.id) return;
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

}  // namespace

void merge_ids(const MergeTable& table, std::vector<int32_t>& ids, size_t begin) {
  const size_t count = ids.size() - begin;
  if (count <= size_t(kShortPiece))
    ids.resize(begin + size_t(merge_short(table, ids.data() + begin, int32_t(count))));
  else
    LongMerger(table).run(ids, begin);
}

}  // namespace trireme
