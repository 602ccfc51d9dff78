#include "runtime/step_inputs.h"

#include <algorithm>
#include <span>

namespace trireme {

namespace {

int64_t upload_bytes(const StepInputsLimits& limits) {
  int64_t elements = 3 * limits.max_tokens + 2 * limits.max_rows + 1 + 2 * limits.max_outputs, arrays = 8;
  for (const AttentionPlanOptions& options : limits.attention) {
    const AttentionWorkCapacity most = attention_work_capacity(limits.max_tokens, limits.max_rows, options);
    elements += (most.decode + most.prefill) * kAttentionWorkStride + 2, arrays += 4;
  }
  return PackedUpload::bytes_for(elements) + arrays * 16;
}

// Room for the items of one class and for their number, as seen from both sides.
struct WorkRoom {
  TensorView items, count;
  std::span<AttentionWorkItem> host;
  int32_t* host_count;
};

WorkRoom add_room(PackedUpload& upload, int64_t capacity) {
  WorkRoom room{};
  void* host = nullptr;
  room.count = upload.add({1}, &room.host_count);
  room.items = upload.add(DType::i32, {capacity, kAttentionWorkStride}, &host);
  room.host = {static_cast<AttentionWorkItem*>(host), size_t(capacity)};
  return room;
}

AttentionWork filled(const WorkRoom& room, int32_t count, int32_t tile_rows) {
  *room.host_count = count;
  return {.items = room.items.slice(0, 0, count), .count = room.count, .tile_rows = tile_rows};
}

}  // namespace

StepInputs::StepInputs(const StepInputsLimits& limits, Device device)
    : limits_(limits),
      upload_(device, upload_bytes(limits)),
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
  plan_work(plan);
  upload_.upload(stream);
  if (num_tokens_ > 0)
    resolve_tokens(ids(), positions_.view().slice(0, 0, num_tokens_), ids_view, positions_view, token_slots_,
                   slots.state(), stream);
}

// The work list of every KV group: the host's lengths are upper bounds of the device's.
void StepInputs::plan_work(const StepPlan& plan) {
  if (limits_.attention.empty()) return;
  plan_rows_.clear();
  int32_t token = 0;
  for (const PlanRow& row : plan.rows) {
    plan_rows_.push_back({.first_token = token, .count = row.count, .start = row.start, .slot = row.slot});
    token += row.count;
  }
  work_.clear();
  for (const AttentionPlanOptions& options : limits_.attention) {
    const AttentionWorkCapacity most = attention_work_capacity(num_tokens_, num_rows_, options);
    const WorkRoom decode = add_room(upload_, most.decode), prefill = add_room(upload_, most.prefill);
    const AttentionPlan made = plan_attention(plan_rows_, options, decode.host, prefill.host);
    work_.push_back({filled(decode, made.decode_items, kDecodeTileRows),
                     filled(prefill, made.prefill_items, made.prefill_tile_rows)});
  }
}

AttentionBatch StepInputs::batch(const SlotTable& slots, int group) const {
  const Work work = work_.empty() ? Work{} : work_[size_t(group)];
  return {.positions = positions_.view().slice(0, 0, num_tokens_),
          .token_slots = token_slots_,
          .row_begin = row_begin_,
          .row_slots = row_slots_,
          .block_table = slots.block_table(group),
          .num_tokens = num_tokens_,
          .num_rows = num_rows_,
          .max_row_tokens = max_row_tokens_,
          .max_context = max_context_,
          .decode_work = work.decode,
          .prefill_work = work.prefill};
}

}  // namespace trireme
