#include "runtime/kv_sizing.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

int64_t total_bytes(const KvSizing& sizing, int64_t blocks) {
  const std::vector<int32_t> counts = blocks_by_group(sizing, blocks);
  int64_t total = 0;
  for (size_t group = 0; group < counts.size(); ++group) total += counts[group] * sizing.bytes[group];
  return total;
}

}  // namespace

int64_t most_blocks(const KvGroupSpec& group, int64_t length, int32_t max_chunk) {
  const int64_t all = ceil_div(length, group.block_size);
  if (group.window == 0) return all;
  return std::min(all, (int64_t(group.window) + max_chunk) / group.block_size + 2);
}

std::vector<int32_t> blocks_by_group(const KvSizing& sizing, int64_t blocks) {
  std::vector<int32_t> counts;
  for (const KvGroupSpec& group : sizing.groups) {
    const int64_t useful = most_blocks(group, sizing.max_model_len, sizing.max_chunk) * sizing.max_num_seqs;
    counts.push_back(int32_t(group.window == 0 ? blocks : std::min(blocks, useful)));
  }
  return counts;
}

int64_t affordable_blocks(const KvSizing& sizing, int64_t budget_bytes) {
  CHECK_EQ(sizing.groups.size(), sizing.bytes.size());
  int64_t useful = 0;
  for (const KvGroupSpec& group : sizing.groups) {
    const int64_t most = std::min<int64_t>(
        most_blocks(group, sizing.max_model_len, sizing.max_chunk) * sizing.max_num_seqs, INT32_MAX / group.block_size);
    useful = std::max(useful, most);
  }
  int64_t low = 0, high = useful;  // low always fits
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (total_bytes(sizing, middle) <= budget_bytes)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

int64_t longest_sequence(const KvSizing& sizing, const std::vector<int32_t>& num_blocks) {
  int64_t longest = sizing.max_model_len;
  for (size_t group = 0; group < num_blocks.size(); ++group) {
    const KvGroupSpec& spec = sizing.groups[group];
    if (num_blocks[group] < most_blocks(spec, longest, sizing.max_chunk))
      longest = int64_t(num_blocks[group]) * spec.block_size;
  }
  return longest;
}

}  // namespace trireme
