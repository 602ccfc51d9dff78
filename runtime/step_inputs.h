#pragma once
// A plan's rows as device arrays: one packed copy, then the tokens are resolved on the device (drawn ids and
// their positions are known only there). Fixed addresses per ring entry. One thread (the worker's).

#include <vector>

#include "kernels/attention.h"
#include "kernels/step.h"
#include "parallel/plan/plan.h"
#include "runtime/packed_upload.h"
#include "runtime/slot_table.h"

namespace trireme {

struct StepInputsLimits {
  int32_t max_tokens = 0;
  int32_t max_rows = 0;
  int32_t max_outputs = 0;
  std::vector<AttentionPlanOptions> attention;  // by KV group; empty where attention needs no work list
};

class StepInputs {
 public:
  StepInputs(const StepInputsLimits& limits, Device device);

  // Queues the copy and the resolution.
  void prepare(const StepPlan& plan, const SlotTable& slots, const Stream& stream);

  TensorView ids() const { return ids_.view().slice(0, 0, num_tokens_); }  // [T] i32
  AttentionBatch batch(const SlotTable& slots, int group) const;
  TensorView output_tokens() const { return output_tokens_; }  // [outputs] i32: token index read
  TensorView draw_slots() const { return draw_slots_; }        // [outputs] i32

 private:
  struct Work {  // of a KV group
    AttentionWork decode, prefill;
  };
  void plan_work(const StepPlan& plan);

  StepInputsLimits limits_;
  PackedUpload upload_;
  Tensor ids_, positions_;
  TensorView token_slots_, row_begin_, row_slots_, output_tokens_, draw_slots_;
  int64_t num_tokens_ = 0, num_rows_ = 0;
  int32_t max_row_tokens_ = 0, max_context_ = 0;
  std::vector<AttentionPlanRow> plan_rows_;
  std::vector<Work> work_;
};

}  // namespace trireme
