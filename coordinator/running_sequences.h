#pragma once
// The running sequences in order, in one piece of memory: every step walks through them, after a sleep that has emptied
// the caches, where a tree's nodes would each be waited for in turn. Coming and going costs a move of those behind. One
// thread (the engine's).

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "coordinator/sequence.h"

namespace trireme {

// As a std::map, but for iterators: they end with the next emplace() or erase().
class RunningSequences final {
 public:
  using Entry = std::pair<SequenceOrder, SequencePtr>;

  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto rbegin() const { return entries_.rbegin(); }
  auto rend() const { return entries_.rend(); }
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }

  void emplace(const SequenceOrder& order, const SequencePtr& sequence) {
    const auto place = lower_bound(order);
    CHECK(place == entries_.end() || place->first != order) << "a sequence runs twice";
    entries_.emplace(place, order, sequence);
  }
  void erase(const SequenceOrder& order) {  // no effect when it is not there
    const auto place = lower_bound(order);
    if (place != entries_.end() && place->first == order) entries_.erase(place);
  }

 private:
  std::vector<Entry>::const_iterator lower_bound(const SequenceOrder& order) const {
    return std::ranges::lower_bound(entries_, order, {}, &Entry::first);
  }

  std::vector<Entry> entries_;  // ascending
};

}  // namespace trireme
