#include "tests/coordinator/support/plan_checker.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "base/check.h"

namespace trireme::test {

PlanChecker::PlanChecker(const ClusterInfo& cluster) : cluster_(cluster), slots_(size_t(cluster.num_slots)) {
  for (const KvGroupInfo& group : cluster.groups) holders_.emplace_back(size_t(group.num_blocks));
}

void PlanChecker::submit(const StepPlan& plan, const std::function<void(SlotId)>& fresh_slot,
                         const std::function<void(size_t, BlockId)>& fresh_block) {
  CHECK(!shut_down_) << "a plan after the last";
  CHECK_EQ(plan.step, next_step_++) << "step ids are consecutive";
  CHECK_LT(plan.draws_needed, plan.step) << "a plan cannot need its own draws";
  shut_down_ = plan.shutdown;
  CHECK_EQ(plan.rows.empty(), plan.shutdown) << "rows of step" << plan.step;
  CHECK_LE(plan.num_tokens(), cluster_.max_batched_tokens);
  CHECK_LE(int32_t(plan.outputs.size()), cluster_.max_logit_rows);
  for (const SlotOrder& order : plan.slots) apply(order, fresh_slot);
  for (const BlockOrder& order : plan.blocks) apply(order, plan, fresh_block);
  std::set<SlotId> seen;
  for (const PlanRow& row : plan.rows) {
    CHECK(seen.insert(row.slot).second) << "two rows of slot" << row.slot;
    check_row(plan, row);
  }
  check_outputs(plan);
  for (const PlanRow& row : plan.rows) drop_behind_window(row.slot, row.start + row.count);
  std::set<SlotId> forked;  // and not closed again
  for (const SlotOrder& order : plan.slots) {
    if (order.kind == SlotOrderKind::fork) forked.insert(order.slot);
    if (order.kind == SlotOrderKind::close) forked.erase(order.slot);
  }
  for (SlotId slot : forked) drop_behind_window(slot, slots_[size_t(slot)].length - 1);
}

PlanChecker::Slot& PlanChecker::open_slot(SlotId slot) {
  CHECK(slot >= 0 && slot < cluster_.num_slots) << "slot" << slot;
  CHECK(slots_[size_t(slot)].open) << "slot" << slot << "is closed";
  return slots_[size_t(slot)];
}

void PlanChecker::hold(size_t group, BlockId block, int32_t by) {
  if (block >= 0) holders_[group].at(size_t(block)) += by;
}

void PlanChecker::apply(const SlotOrder& order, const std::function<void(SlotId)>& fresh_slot) {
  if (order.kind == SlotOrderKind::close) {
    Slot& slot = open_slot(order.slot);
    for (size_t group = 0; group < holders_.size(); ++group) {
      for (BlockId block : slot.tables[group]) hold(group, block, -1);
    }
    slot = {};
    return;
  }
  if (order.kind == SlotOrderKind::append) {
    CHECK_GE(order.token, 0) << "an appended token";
    ++open_slot(order.slot).length;
    return;
  }
  CHECK(!slots_.at(size_t(order.slot)).open) << "slot" << order.slot << "is open already";
  fresh_slot(order.slot);
  Slot& slot = slots_[size_t(order.slot)];
  if (order.kind == SlotOrderKind::fork) {
    slot = open_slot(order.source);
    for (size_t group = 0; group < holders_.size(); ++group) {
      for (BlockId block : slot.tables[group]) hold(group, block, 1);
    }
    return;
  }
  CHECK(!order.history.empty() && order.prompt_length > 0 && order.prompt_length <= int32_t(order.history.size()));
  slot = {true, int32_t(order.history.size()), order.history, {}};
  slot.tables.resize(holders_.size());
}

void PlanChecker::apply(const BlockOrder& order, const StepPlan& plan,
                        const std::function<void(size_t, BlockId)>& fresh_block) {
  CHECK_LT(size_t(order.group), holders_.size());
  CHECK(order.block >= 0 && order.block < cluster_.groups[order.group].num_blocks) << "block" << order.block;
  if (order.kind == BlockOrderKind::copy) return fresh_block(order.group, order.block);
  auto& table = open_slot(order.slot).tables[order.group];
  if (order.kind == BlockOrderKind::drop_prefix) {
    CHECK_LE(size_t(order.index), table.size());
    for (BlockId& block : std::span(table).first(size_t(order.index))) hold(order.group, std::exchange(block, -1), -1);
    return;
  }
  if (order.kind == BlockOrderKind::append) {
    CHECK_EQ(size_t(order.index), table.size()) << "append";
    CHECK_LT(order.index, cluster_.max_blocks_per_slot);
    table.push_back(-1);
    const auto row = std::ranges::find(plan.rows, order.slot, &PlanRow::slot);
    const bool written_here =
        row != plan.rows.end() && row->start <= order.index * cluster_.groups[order.group].block_size;
    if (written_here) fresh_block(order.group, order.block);
  }
  CHECK_LT(size_t(order.index), table.size());
  hold(order.group, std::exchange(table[size_t(order.index)], order.block), -1);
  hold(order.group, order.block, 1);
}

void PlanChecker::check_row(const StepPlan& plan, const PlanRow& row) {
  const Slot& slot = open_slot(row.slot);
  CHECK_GT(row.count, 0);
  CHECK_LE(slot.length, cluster_.max_model_len);
  if (row.ids_begin == kLastDrawn) {
    CHECK_EQ(row.count, 1);
    CHECK_EQ(row.start, slot.length - 1) << "the drawn token stands last";
  } else {
    CHECK_LE(row.start + row.count, int32_t(slot.history.size()));
    for (int32_t index = 0; index < row.count; ++index) {
      const TokenId given = plan.row_ids.at(size_t(row.ids_begin + index));
      CHECK_EQ(given, slot.history[size_t(row.start + index)]) << "row ids and history differ";
    }
  }
  for (int32_t position = row.start; position < row.start + row.count; ++position) {
    for (size_t group = 0; group < holders_.size(); ++group) check_write(plan, row.slot, group, position);
  }
}

// Only slots that fork from the writer in this very plan may hold a block that it writes.
void PlanChecker::check_write(const StepPlan& plan, SlotId slot, size_t group, int32_t position) const {
  const auto index = size_t(position / cluster_.groups[group].block_size);
  const auto& table = slots_[size_t(slot)].tables[group];
  CHECK_LT(index, table.size()) << "position" << position << "of slot" << slot << "has no block";
  const BlockId block = table[index];
  CHECK_GE(block, 0) << "position" << position << "was dropped";
  int32_t allowed = 1;
  for (const SlotOrder& order : plan.slots) {
    if (order.kind != SlotOrderKind::fork || order.source != slot) continue;
    const auto& forked = slots_[size_t(order.slot)].tables[group];
    allowed += index < forked.size() && forked[index] == block;
  }
  CHECK_EQ(holders_[group][size_t(block)], allowed) << "block" << block << "is written and held by others";
}

void PlanChecker::check_outputs(const StepPlan& plan) {
  for (const PlanOutput& output : plan.outputs) {
    Slot& slot = open_slot(output.slot);
    CHECK(output.row >= 0 && size_t(output.row) < plan.rows.size()) << "row" << output.row;
    const PlanRow& row = plan.rows[size_t(output.row)];
    CHECK(output.offset >= 0 && output.offset < row.count) << "offset" << output.offset;
    CHECK_EQ(row.start + output.offset, output.position - 1) << "the hidden state stands before the position";
    if (output.kind == OutputKind::score) {
      CHECK_EQ(output.target, slot.history.at(size_t(output.position)));
      continue;
    }
    CHECK_EQ(output.position, slot.length) << "the drawn token comes last";
    slot.length += output.kind == OutputKind::draw;
  }
}

void PlanChecker::drop_behind_window(SlotId slot, int32_t end) {
  for (size_t group = 0; group < holders_.size(); ++group) {
    const KvGroupInfo& info = cluster_.groups[group];
    if (info.window == 0) continue;
    auto& table = slots_[size_t(slot)].tables[group];
    const auto dead = std::min(table.size(), size_t(std::max(0, end - info.window + 1) / info.block_size));
    for (BlockId& block : std::span(table).first(dead)) hold(group, std::exchange(block, -1), -1);
  }
}

}  // namespace trireme::test
