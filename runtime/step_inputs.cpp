#include "runtime/step_inputs.h"

#include <algorithm>

#include "runtime/sum_stream.h"

namespace trireme {

namespace {

constexpr int64_t kCutGranule = 128;  // rows of a matrix kernel's tile

int64_t row_bytes(const StepInputsLimits& limits) {
  constexpr int kParts = AttentionWorkLists::kMaxParts;
  return PackedUpload::bytes_for(3 * int64_t(limits.max_tokens) + kParts * (2 * int64_t(limits.max_rows) + 1) +
                                 2 * limits.max_outputs) +
         (8 + 2 * kParts) * 16;
}

}  // namespace

int64_t split_token(int64_t tokens, int64_t min_split_tokens) {
  if (min_split_tokens == 0 || tokens < std::max<int64_t>(2, min_split_tokens)) return 0;
  const int64_t half = (tokens * x_percent + 99) / 100;
  return half < kCutGranule ? half : (half + kCutGranule / 2) / kCutGranule * kCutGranule;
}

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
  for (Part& part : parts_) part.rows.reserve(size_t(memory.limits.max_rows));
  if (keep_draw_slots && device.is_cuda()) kept_draw_slots_ = Tensor(DType::i32, {memory.limits.max_outputs}, device);
}

void StepInputs::prepare(const StepPlan& plan, const SlotTable& slots, int64_t padded_rows, const Stream& stream) {
  const auto tokens = int64_t(plan.num_tokens()), rows = int64_t(plan.rows.size()), outputs = int64_t(plan.outputs.size());
  shape_ = padded_rows > 0 ? StepShape{padded_rows, padded_rows, padded_rows} : StepShape{tokens, rows, outputs};
  CHECK(shape_.tokens >= tokens && shape_.rows >= rows && shape_.outputs >= outputs) << "padding of step" << plan.step;
  CHECK_LE(shape_.tokens, memory_->limits.max_tokens) << "tokens of step" << plan.step;
  CHECK_LE(shape_.rows, memory_->limits.max_rows) << "rows of step" << plan.step;
  CHECK_LE(shape_.outputs, memory_->limits.max_outputs) << "outputs of step" << plan.step;
  make_rows(plan, slots);
  make_parts(padded_rows > 0);
  lay_out();
  fill(plan);
  fill_padding(tokens, outputs);
  for (int part = 0; part < num_parts_; ++part) {
    const Part& own = parts_[size_t(part)];
    memory_->work_lists.prepare(part, own.rows, padded_rows > 0 ? own.num_rows : 0, upload_);
  }
  upload_.upload(stream);
  draw_slots_ = all_draw_slots_.slice(0, 0, outputs);
  if (!kept_draw_slots_ || outputs == 0) return;
  const TensorView kept = kept_draw_slots_.view().slice(0, 0, outputs);
  copy_async(kept.data(), draw_slots_.data(), size_t(kept.bytes()), kept.device(), stream);
  draw_slots_ = kept;
}

void StepInputs::make_rows(const StepPlan& plan, const SlotTable& slots) {
  int32_t token = 0;
  max_row_tokens_ = max_context_ = 0;
  plan_rows_.clear();
  for (const PlanRow& row : plan.rows) {
    slots.info(row.slot);  // must be open
    const bool drawn = row.ids_begin == kLastDrawn;
    CHECK(row.count > 0 && (!drawn || row.count == 1)) << "row" << plan_rows_.size() << "of step" << plan.step;
    CHECK(drawn || (row.ids_begin >= 0 && size_t(row.ids_begin) + size_t(row.count) <= plan.row_ids.size()))
        << "ids of row" << plan_rows_.size();
    plan_rows_.push_back({token, row.count, row.start, row.slot});
    token += row.count;
    max_row_tokens_ = std::max(max_row_tokens_, row.count);
    max_context_ = std::max(max_context_, row.start + row.count);
  }
}

void StepInputs::make_parts(bool padded) {
  const int64_t cut = split_token(shape_.tokens, memory_->limits.min_split_tokens);
  num_parts_ = cut > 0 ? 2 : 1;
  parts_[0].tokens = {0, cut > 0 ? cut : shape_.tokens};
  parts_[1].tokens = {cut, shape_.tokens};
  for (int index = 0; index < num_parts_; ++index) {
    Part& part = parts_[size_t(index)];
    const auto first = int32_t(part.tokens.begin), last = int32_t(part.tokens.end);
    part.rows.clear();
    for (const AttentionPlanRow& row : plan_rows_) {
      const int32_t begin = std::max(row.first_token, first), end = std::min(row.first_token + row.count, last);
      if (begin >= end) continue;
      part.rows.push_back({begin - first, end - begin, row.start + begin - row.first_token, row.slot});
    }
    part.num_rows = padded ? part.tokens.size() : int64_t(part.rows.size());
  }
}

void StepInputs::lay_out() {
  upload_.clear();
  given_ids_ = upload_.add({shape_.tokens}, &host_.ids);
  given_positions_ = upload_.add({shape_.tokens}, &host_.positions);
  token_slots_ = upload_.add({shape_.tokens}, &host_.token_slots);
  for (int index = 0; index < num_parts_; ++index) {
    Part& part = parts_[size_t(index)];
    part.row_begin = upload_.add({part.num_rows + 1}, &part.host_row_begin);
    part.row_slots = upload_.add({part.num_rows}, &part.host_row_slots);
  }
  output_tokens_ = upload_.add({shape_.outputs}, &host_.output_tokens);
  all_draw_slots_ = upload_.add({shape_.outputs}, &host_.draw_slots);
}

void StepInputs::fill(const StepPlan& plan) {
  int32_t token = 0;
  for (const PlanRow& row : plan.rows)
    for (int32_t i = 0; i < row.count; ++i, ++token) {
      host_.ids[token] = row.ids_begin == kLastDrawn ? kLastDrawn : plan.row_ids[size_t(row.ids_begin + i)];
      host_.positions[token] = row.start + i;
      host_.token_slots[token] = row.slot;
    }
  for (int part = 0; part < num_parts_; ++part) fill_rows(parts_[size_t(part)]);
  for (size_t o = 0; o < plan.outputs.size(); ++o) {
    const PlanOutput& output = plan.outputs[o];
    CHECK(output.row >= 0 && size_t(output.row) < plan.rows.size()) << "output" << o << "of step" << plan.step;
    CHECK(output.offset >= 0 && output.offset < plan.rows[size_t(output.row)].count)
        << "output" << o << "of step" << plan.step;
    host_.output_tokens[o] = plan_rows_[size_t(output.row)].first_token + output.offset;
    host_.draw_slots[o] = output.slot;
  }
}

// Rows of padding have no tokens.
void StepInputs::fill_rows(Part& part) const {
  int32_t end = 0;
  for (size_t r = 0; r < part.rows.size(); ++r) {
    part.host_row_begin[r] = part.rows[r].first_token;
    part.host_row_slots[r] = part.rows[r].slot;
    end = part.rows[r].first_token + part.rows[r].count;
  }
  std::fill(part.host_row_begin + part.rows.size(), part.host_row_begin + part.num_rows + 1, end);
  std::fill(part.host_row_slots + part.rows.size(), part.host_row_slots + part.num_rows, 0);
}

// Tokens that no row owns, outputs that read the first token.
void StepInputs::fill_padding(int64_t tokens, int64_t outputs) {
  std::fill(host_.ids + tokens, host_.ids + shape_.tokens, 0);
  std::fill(host_.positions + tokens, host_.positions + shape_.tokens, 0);
  std::fill(host_.token_slots + tokens, host_.token_slots + shape_.tokens, -1);
  std::fill(host_.output_tokens + outputs, host_.output_tokens + shape_.outputs, 0);
  std::fill(host_.draw_slots + outputs, host_.draw_slots + shape_.outputs, -1);
}

void StepInputs::resolve(const SlotTable& slots, const Stream& stream) const {
  if (shape_.tokens > 0)
    resolve_tokens(ids(), positions(), given_ids_, given_positions_, token_slots_, slots.state(), stream);
}

// The step's longest row for both parts: a piece of a cut row counts as of several tokens.
AttentionBatch StepInputs::batch(const SlotTable& slots, int part, int group) const {
  const Part& own = parts_[size_t(part)];
  const auto of_part = [&](TensorView all) { return all.slice(0, own.tokens.begin, own.tokens.end); };
  AttentionBatch batch{.positions = of_part(positions()),
                       .token_slots = of_part(token_slots_),
                       .row_begin = own.row_begin,
                       .row_slots = own.row_slots,
                       .block_table = slots.block_table(group),
                       .num_tokens = own.tokens.size(),
                       .num_rows = own.num_rows,
                       .max_row_tokens = max_row_tokens_,
                       .max_context = max_context_,
                       .decode_work = {},
                       .prefill_work = {}};
  memory_->work_lists.set(batch, part, group);
  return batch;
}

}  // namespace trireme
