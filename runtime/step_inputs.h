#pragma once
// A plan's rows as device arrays: one packed copy, then the tokens are resolved on the device (drawn ids and
// their positions are known only there). The host's side is one per step in flight; the device's side is one for all,
// since the stream orders its writers and readers, and so its addresses depend on a step's shape alone, as graphs need.
// One thread (the worker's).

#include <array>
#include <vector>

#include "kernels/attention.h"
#include "kernels/step.h"
#include "parallel/plan/plan.h"
#include "parallel/topology.h"
#include "runtime/attention_work.h"
#include "runtime/packed_upload.h"
#include "runtime/slot_table.h"

namespace trireme {

struct StepInputsLimits {
  int32_t max_tokens = 0;
  int32_t max_rows = 0;
  int32_t max_outputs = 0;
  int64_t min_split_tokens = 0;  // steps of that many tokens and more are cut in two parts; 0: none
};

// Where such a step is cut: at a token, be it within a row. By its tokens alone, so every rank agrees. 0: it is whole.
int64_t split_token(int64_t tokens, int64_t min_split_tokens);

// What the forward pass computes, in one part or two. Rows of padding: tokens of slot -1 at position 0, which nobody reads.
struct StepShape {
  int64_t tokens = 0, rows = 0, outputs = 0;
};

// The device's side, shared by a ring of StepInputs.
struct StepInputsMemory {
  StepInputsMemory(const StepInputsLimits& limits, const KvPool& kv_pool, Device device);
  StepInputsLimits limits;
  AttentionWorkLists work_lists;  // of the step prepared last
  int64_t upload_bytes;
  Tensor ids, positions;  // [max_tokens] i32
  Tensor packed;          // cuda only: the copies' destination
};

class StepInputs {
 public:
  // keep_draw_slots: draw_slots() stays valid after later steps have been prepared.
  StepInputs(StepInputsMemory& memory, Device device, bool keep_draw_slots);

  // Queues the copy. padded_rows: 0, or how many one-token rows (and outputs) a plan of one-token rows is filled up to.
  void prepare(const StepPlan& plan, const SlotTable& slots, int64_t padded_rows, const Stream& stream);
  // Queues the resolution of ids and positions. Its pointers are those of any step of this shape.
  void resolve(const SlotTable& slots, const Stream& stream) const;

  const StepShape& shape() const { return shape_; }
  TensorView ids() const { return memory_->ids.view().slice(0, 0, shape_.tokens); }  // [tokens] i32
  int num_parts() const { return num_parts_; }
  Range part_tokens(int part) const { return parts_[size_t(part)].tokens; }
  // Of the step prepared last; tokens are counted from the part's first. A row that is cut is a row of both parts, and
  // its second piece reads the keys of the first from the cache.
  AttentionBatch batch(const SlotTable& slots, int part, int group) const;
  TensorView output_tokens() const { return output_tokens_; }  // [outputs] i32: token index read
  TensorView draw_slots() const { return draw_slots_; }        // [the plan's outputs] i32

 private:
  TensorView positions() const { return memory_->positions.view().slice(0, 0, shape_.tokens); }
  struct Part {
    Range tokens;                        // of the step's
    std::vector<AttentionPlanRow> rows;  // the plan's
    int64_t num_rows = 0;                // with padding
    TensorView row_begin, row_slots;
    int32_t *host_row_begin = nullptr, *host_row_slots = nullptr;
  };
  void make_rows(const StepPlan& plan, const SlotTable& slots);
  void make_parts(bool padded);
  void lay_out();
  void fill(const StepPlan& plan);
  void fill_rows(Part& part) const;
  void fill_padding(int64_t tokens, int64_t outputs);

  StepInputsMemory* memory_;
  PackedUpload upload_;
  std::vector<AttentionPlanRow> plan_rows_;
  std::array<Part, AttentionWorkLists::kMaxParts> parts_;
  int num_parts_ = 1;
  Tensor kept_draw_slots_;
  StepShape shape_;
  TensorView given_ids_, given_positions_, token_slots_, output_tokens_, all_draw_slots_, draw_slots_;
  struct {
    int32_t *ids, *positions, *token_slots, *output_tokens, *draw_slots;
  } host_{};
  int32_t max_row_tokens_ = 0, max_context_ = 0;
};

}  // namespace trireme
