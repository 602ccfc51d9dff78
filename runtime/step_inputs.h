#pragma once
// A plan's rows as device arrays: one packed copy, then the tokens are resolved on the device (drawn ids and
// their positions are known only there). The host's side is one per step in flight; the device's side is one for all,
// since the stream orders its writers and readers, and so its addresses depend on a step's shape alone, as graphs need.
// One thread (the worker's).

#include <vector>

#include "kernels/attention.h"
#include "kernels/step.h"
#include "parallel/plan/plan.h"
#include "runtime/attention_work.h"
#include "runtime/packed_upload.h"
#include "runtime/slot_table.h"

namespace trireme {

struct StepInputsLimits {
  int32_t max_tokens = 0;
  int32_t max_rows = 0;
  int32_t max_outputs = 0;
};

// What the forward pass computes. Rows of padding: tokens of slot -1 at position 0, which nobody reads.
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
  // Of the step prepared last.
  AttentionBatch batch(const SlotTable& slots, int group) const;
  TensorView output_tokens() const { return output_tokens_; }  // [outputs] i32: token index read
  TensorView draw_slots() const { return draw_slots_; }        // [the plan's outputs] i32

 private:
  TensorView positions() const { return memory_->positions.view().slice(0, 0, shape_.tokens); }
  void lay_out();
  void fill(const StepPlan& plan, const SlotTable& slots);
  void fill_padding(int64_t tokens, int64_t rows, int64_t outputs);

  StepInputsMemory* memory_;
  PackedUpload upload_;
  std::vector<AttentionPlanRow> plan_rows_;
  Tensor kept_draw_slots_;
  StepShape shape_;
  TensorView given_ids_, given_positions_, token_slots_, row_begin_, row_slots_, output_tokens_, all_draw_slots_,
      draw_slots_;
  struct {
    int32_t *ids, *positions, *token_slots, *row_begin, *row_slots, *output_tokens, *draw_slots;
  } host_{};
  int32_t max_row_tokens_ = 0;
};

}  // namespace trireme
