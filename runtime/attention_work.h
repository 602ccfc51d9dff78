#pragma once
// A step's work lists for attention (kernels/attention_plan.h), one pair per KV group, as part of the step's inputs.
// Nothing on the CPU, whose attention needs none. One thread (the worker's).

#include <span>
#include <vector>

#include "kernels/attention.h"
#include "runtime/kv_pool.h"
#include "runtime/packed_upload.h"

namespace trireme {

class AttentionWorkLists {
 public:
  // max_tokens, max_rows: of a step.
  AttentionWorkLists(const KvPool& kv_pool, int64_t max_tokens, int64_t max_rows, Device device);

  int64_t upload_bytes() const;  // the most that prepare() adds to an upload
  // rows: the step's. padded_rows: 0, or the one-token rows that the lists must have room for whatever the contexts,
  // so that their addresses and sizes depend on it alone.
  void prepare(std::span<const AttentionPlanRow> rows, int64_t padded_rows, PackedUpload& upload);
  // Puts the lists of a group into its batch.
  void set(AttentionBatch& batch, int group) const;

 private:
  struct Group {
    AttentionPlanOptions options;
    bool empty = false;  // no heads or no layers here
    AttentionWork decode, prefill;
  };
  AttentionWork add(std::span<const AttentionWorkItem> items, int64_t capacity, int32_t tile_rows,
                    PackedUpload& upload) const;

  std::vector<Group> groups_;  // empty on the CPU
  int64_t max_tokens_, max_rows_;
  std::vector<AttentionWorkItem> decode_, prefill_;  // of the group being planned
};

}  // namespace trireme
