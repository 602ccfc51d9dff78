#pragma once
// Pair of ids -> merge, open addressing: the innermost look-up of byte-pair encoding.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace trireme {

struct Merge {
  int32_t rank = -1, id = -1;  // rank -1: the pair does not merge
};

class MergeTable {
 public:
  explicit MergeTable(size_t merges) : slots_(std::bit_ceil(std::max<size_t>(merges * 2, 16))) {}

  void insert(int32_t left, int32_t right, Merge merge) {  // the last of equals stays, as in Hugging Face
    const uint64_t wanted = key(left, right);
    size_t at = home(wanted);
    while (slots_[at].merge.rank >= 0 && slots_[at].key != wanted) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {wanted, merge};
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

}  // namespace trireme
