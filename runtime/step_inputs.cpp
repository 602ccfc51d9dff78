#include "runtime/step_inputs.h"

#include <algorithm>

namespace trireme {

namespace {

int64_t row_bytes(const StepInputsLimits& limits) {
  return PackedUpload::bytes_for(3 * int64_t(limits.max_tokens) + 2 * limits.max_rows + 1 + 2 * limits.max_outputs) +
         8 * 16;
}

}  // namespace

StepInputsMemory::StepInputsMemory(const StepInputsLimits& limits, const KvPool& kv_pool, Device device)
    : limits(limits),
      work_lists(kv_pool, limits.max_tokens, limits.max_rows, device),
      upload_bytes(row_bytes(limits) + work_lists.upload_bytes()),
      ids(DType::i32, {limits.max_tokens}, device),
      positions(DType::i32, {limits.max_tokens}, device) {
  if (device.is_cuda()) packed = Tensor(DType::u8, {upload_bytes}, device);
}

StepInputs::StepInputs(StepInputsMemory& memory, Device device, bool keep_draw_slots)
    : memory_(&memory), upload_(device, memory.upload_bytes, memory.packed) {
  plan_rows_.reserve(size_t(memory.limits.max_rows));
  if (keep_draw_slots && device.is_cuda()) kept_draw_slots_ = Tensor(DType::i32, {memory.limits.max_outputs}, device);
}

void StepInputs::prepare(const StepPlan& plan, const SlotTable& slots, int64_t padded_rows, const Stream& stream) {
  const auto tokens = int64_t(plan.num_tokens()), rows = int64_t(plan.rows.size()), outputs = int64_t(plan.outputs.size());
  shape_ = padded_rows > 0 ? StepShape{padded_rows, padded_rows, padded_rows} : StepShape{tokens, rows, outputs};
  CHECK(shape_.tokens >= tokens && shape_.rows >= rows && shape_.outputs >= outputs) << "padding of step" << plan.step;
  CHECK_LE(shape_.tokens, memory_->limits.max_tokens) << "tokens of step" << plan.step;
  CHECK_LE(shape_.rows, memory_->limits.max_rows) << "rows of step" << plan.step;
  CHECK_LE(shape_.outputs, memory_->limits.max_outputs) << "outputs of step" << plan.step;
  lay_out();
  fill(plan, slots);
  fill_padding(tokens, rows, outputs);
  memory_->work_lists.prepare(plan_rows_, padded_rows, upload_);
  upload_.upload(stream);
  draw_slots_ = all_draw_slots_.slice(0, 0, outputs);
  if (!kept_draw_slots_ || outputs == 0) return;
  const TensorView kept = kept_draw_slots_.view().slice(0, 0, outputs);
  copy_async(kept.data(), draw_slots_.data(), size_t(kept.bytes()), kept.device(), stream);
  draw_slots_ = kept;
}

void StepInputs::lay_out() {
  upload_.clear();
  given_ids_ = upload_.add({shape_.tokens}, &host_.ids);
  given_positions_ = upload_.add({shape_.tokens}, &host_.positions);
  token_slots_ = upload_.add({shape_.tokens}, &host_.token_slots);
  row_begin_ = upload_.add({shape_.rows + 1}, &host_.row_begin);
  row_slots_ = upload_.add({shape_.rows}, &host_.row_slots);
  output_tokens_ = upload_.add({shape_.outputs}, &host_.output_tokens);
  all_draw_slots_ = upload_.add({shape_.outputs}, &host_.draw_slots);
}

void StepInputs::fill(const StepPlan& plan, const SlotTable& slots) {
  int32_t token = 0;
  max_row_tokens_ = 0;
  plan_rows_.clear();
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    const PlanRow& row = plan.rows[r];
    slots.check_open(row.slot);
    const bool drawn = row.ids_begin == kLastDrawn;
    CHECK(row.count > 0 && (!drawn || row.count == 1)) << "row" << r << "of step" << plan.step;
    CHECK(drawn || (row.ids_begin >= 0 && size_t(row.ids_begin) + size_t(row.count) <= plan.row_ids.size()))
        << "ids of row" << r;
    host_.row_begin[r] = token;
    host_.row_slots[r] = row.slot;
    plan_rows_.push_back({token, row.count, row.start, row.slot});
    for (int32_t i = 0; i < row.count; ++i, ++token) {
      host_.ids[token] = drawn ? kLastDrawn : plan.row_ids[size_t(row.ids_begin + i)];
      host_.positions[token] = row.start + i;
      host_.token_slots[token] = row.slot;
    }
    max_row_tokens_ = std::max(max_row_tokens_, row.count);
  }
  host_.row_begin[plan.rows.size()] = token;
  for (size_t o = 0; o < plan.outputs.size(); ++o) {
    const PlanOutput& output = plan.outputs[o];
    CHECK(output.row >= 0 && size_t(output.row) < plan.rows.size()) << "output" << o << "of step" << plan.step;
    CHECK(output.offset >= 0 && output.offset < plan.rows[size_t(output.row)].count)
        << "output" << o << "of step" << plan.step;
    host_.output_tokens[o] = host_.row_begin[output.row] + output.offset;
    host_.draw_slots[o] = output.slot;
  }
}

// Tokens that no row owns, rows without tokens, outputs that read the first token.
void StepInputs::fill_padding(int64_t tokens, int64_t rows, int64_t outputs) {
  std::fill(host_.ids + tokens, host_.ids + shape_.tokens, 0);
  std::fill(host_.positions + tokens, host_.positions + shape_.tokens, 0);
  std::fill(host_.token_slots + tokens, host_.token_slots + shape_.tokens, -1);
  std::fill(host_.row_begin + rows, host_.row_begin + shape_.rows + 1, int32_t(tokens));
  std::fill(host_.row_slots + rows, host_.row_slots + shape_.rows, 0);
  std::fill(host_.output_tokens + outputs, host_.output_tokens + shape_.outputs, 0);
  std::fill(host_.draw_slots + outputs, host_.draw_slots + shape_.outputs, -1);
}

void StepInputs::resolve(const SlotTable& slots, const Stream& stream) const {
  if (shape_.tokens > 0)
    resolve_tokens(ids(), positions(), given_ids_, given_positions_, token_slots_, slots.state(), stream);
}

AttentionBatch StepInputs::batch(const SlotTable& slots, int group) const {
  AttentionBatch batch{.positions = positions(),
                       .token_slots = token_slots_,
                       .row_begin = row_begin_,
                       .row_slots = row_slots_,
                       .block_table = slots.block_table(group),
                       .num_tokens = shape_.tokens,
                       .num_rows = shape_.rows,
                       .max_row_tokens = max_row_tokens_,
                       .decode_work = {},
                       .prefill_work = {}};
  memory_->work_lists.set(batch, group);
  return batch;
}

}  // namespace trireme
