#pragma once
// Merges a sequence of ids in place: the adjacent pair of lowest rank first, the leftmost of equals.

#include <cstdint>
#include <vector>

#include "text/merge_table.h"

namespace trireme {

// Merges ids[begin..]. Short pieces rescan their ranks after each merge; long ones keep a heap, so that a piece of n
// characters costs O(n log n).
void merge_ids(const MergeTable& table, std::vector<int32_t>& ids, size_t begin);

}  // namespace trireme
