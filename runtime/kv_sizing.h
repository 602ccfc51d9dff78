#pragma once
// How many blocks each KV group gets. A sequence never holds more of a windowed group than its window and the chunk
// being computed, so that group needs no more than max_num_seqs times that, and otherwise as many as the full group:
// then it is never the first to run out. Few long sequences leave more to the full group with a smaller --max-num-seqs.

#include <cstdint>
#include <vector>

#include "runtime/kv_pool.h"

namespace trireme {

struct KvSizing {
  std::vector<KvGroupSpec> groups;  // this rank's
  std::vector<int64_t> bytes;       // of one block, by group
  int64_t max_model_len = 0;
  int32_t max_num_seqs = 1;
  int32_t max_chunk = 1;  // tokens of one sequence in a step
};

// Blocks of a group that a sequence of `length` tokens holds at most. As the scheduler counts them.
int64_t most_blocks(const KvGroupSpec& group, int64_t length, int32_t max_chunk);

// Blocks of each group where a group without a window gets `blocks`.
std::vector<int32_t> blocks_by_group(const KvSizing& sizing, int64_t blocks);

// The largest `blocks` that max_num_seqs sequences can use and whose groups fit `budget_bytes` together; may be 0.
int64_t affordable_blocks(const KvSizing& sizing, int64_t budget_bytes);

// The longest sequence, up to max_model_len, that these blocks hold.
int64_t longest_sequence(const KvSizing& sizing, const std::vector<int32_t>& num_blocks);

}  // namespace trireme
