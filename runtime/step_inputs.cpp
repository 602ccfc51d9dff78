#include "runtime/step_inputs.h"

#include <algorithm>

namespace trireme {

StepInputs::StepInputs(const StepInputsLimits& limits, Device device)
    : limits_(limits),
      upload_(
          device,
          PackedUpload::bytes_for(3 * limits.max_tokens + 2 * limits.max_rows + 1 + 2 * limits.max_outputs) + 8 * 16),
      ids_(DType::i32, {limits.max_tokens}, device),
      positions_(DType::i32, {limits.max_tokens}, device) {}

void StepInputs::prepare(const StepPlan& plan, const SlotTable& slots, const Stream& stream) {
  num_tokens_ = plan.num_tokens();
  num_rows_ = int64_t(plan.rows.size());
  CHECK_LE(num_tokens_, limits_.max_tokens) << "tokens of step" << plan.step;
  CHECK_LE(num_rows_, limits_.max_rows) << "rows of step" << plan.step;
  CHECK_LE(int64_t(plan.outputs.size()), limits_.max_outputs) << "outputs of step" << plan.step;

  upload_.clear();
  int32_t *given_ids, *given_positions, *token_slots, *row_begin, *row_slots, *output_tokens, *draw_slots;
  const TensorView ids_view = upload_.add({num_tokens_}, &given_ids);
  const TensorView positions_view = upload_.add({num_tokens_}, &given_positions);
  token_slots_ = upload_.add({num_tokens_}, &token_slots);
  row_begin_ = upload_.add({num_rows_ + 1}, &row_begin);
  row_slots_ = upload_.add({num_rows_}, &row_slots);
  output_tokens_ = upload_.add({int64_t(plan.outputs.size())}, &output_tokens);
  draw_slots_ = upload_.add({int64_t(plan.outputs.size())}, &draw_slots);

  int32_t token = 0;
  max_row_tokens_ = max_context_ = 0;
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    const PlanRow& row = plan.rows[r];
    slots.info(row.slot);  // must be open
    const bool drawn = row.ids_begin == kLastDrawn;
    CHECK(row.count > 0 && (!drawn || row.count == 1)) << "row" << r << "of step" << plan.step;
    CHECK(drawn || (row.ids_begin >= 0 && size_t(row.ids_begin) + size_t(row.count) <= plan.row_ids.size()))
        << "ids of row" << r;
    row_begin[r] = token;
    row_slots[r] = row.slot;
    for (int32_t i = 0; i < row.count; ++i, ++token) {
      given_ids[token] = drawn ? kLastDrawn : plan.row_ids[size_t(row.ids_begin + i)];
      given_positions[token] = row.start + i;
      token_slots[token] = row.slot;
    }
    max_row_tokens_ = std::max(max_row_tokens_, row.count);
    max_context_ = std::max(max_context_, row.start + row.count);
  }
  row_begin[plan.rows.size()] = token;
  for (size_t o = 0; o < plan.outputs.size(); ++o) {
    const PlanOutput& output = plan.outputs[o];
    CHECK(output.row >= 0 && size_t(output.row) < plan.rows.size()) << "output" << o << "of step" << plan.step;
    CHECK(output.offset >= 0 && output.offset < plan.rows[size_t(output.row)].count)
        << "output" << o << "of step" << plan.step;
    output_tokens[o] = row_begin[output.row] + output.offset;
    draw_slots[o] = output.slot;
  }
  upload_.upload(stream);
  if (num_tokens_ > 0)
    resolve_tokens(ids(), positions_.view().slice(0, 0, num_tokens_), ids_view, positions_view, token_slots_,
                   slots.state(), stream);
}

AttentionBatch StepInputs::batch(const SlotTable& slots, int group) const {
  return {.positions = positions_.view().slice(0, 0, num_tokens_),
          .token_slots = token_slots_,
          .row_begin = row_begin_,
          .row_slots = row_slots_,
          .block_table = slots.block_table(group),
          .num_tokens = num_tokens_,
          .num_rows = num_rows_,
          .max_row_tokens = max_row_tokens_,
          .max_context = max_context_};
}

}  // namespace trireme
