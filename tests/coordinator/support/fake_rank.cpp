#include "tests/coordinator/support/fake_rank.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::test {

FakeRank::FakeRank(const FakeModel& model, int stage)
    : model_(model), stage_(stage), slots_(size_t(model.cluster().num_slots)) {
  for (const KvGroupInfo& group : model.cluster().groups) {
    blocks_.emplace_back(size_t(group.num_blocks) * size_t(group.block_size));
    written_.emplace_back(size_t(group.num_blocks));
  }
  for (Slot& slot : slots_) slot.tables.resize(blocks_.size());
}

void FakeRank::apply_orders(const StepPlan& plan) {
  for (const SlotOrder& order : plan.slots) apply(order);
  for (const BlockOrder& order : plan.blocks) apply(order);
}

void FakeRank::apply(const SlotOrder& order) {
  Slot& slot = slots_[size_t(order.slot)];
  if (order.kind == SlotOrderKind::close) return scribble_slot(order.slot);
  if (order.kind == SlotOrderKind::append) return apply_draw(order.slot, order.token);
  if (order.kind == SlotOrderKind::open) {
    slot = {};
    slot.tables.resize(blocks_.size());
    slot.adapter = order.adapter;
    slot.length = int32_t(order.history.size());
    slot.lists = order.lists;
    slot.last_token = order.history.back();
    for (size_t index = 0; index < order.history.size(); ++index) {
      slot.counts += model_.count(order.history[index], int32_t(index) < order.prompt_length);
    }
  } else {
    slot = slots_[size_t(order.source)];
  }
  slot.sampling = order.sampling;
  slot.suppressed = order.suppressed;
}

void FakeRank::apply(const BlockOrder& order) {
  std::vector<BlockId>& table = slots_[size_t(order.slot)].tables[order.group];
  const auto size = size_t(model_.cluster().groups[order.group].block_size);
  auto& entries = blocks_[order.group];
  switch (order.kind) {
    case BlockOrderKind::append:
      CHECK_EQ(size_t(order.index), table.size()) << "append";
      table.push_back(order.block);
      break;
    case BlockOrderKind::replace:
      CHECK_LT(size_t(order.index), table.size()) << "replace";
      table[size_t(order.index)] = order.block;
      break;
    case BlockOrderKind::drop_prefix:
      std::fill_n(table.begin(), order.index, -1);
      break;
    case BlockOrderKind::copy:
      std::copy_n(entries.begin() + long(size_t(order.source) * size), size,
                  entries.begin() + long(size_t(order.block) * size));
      written_[order.group][size_t(order.block)] = true;
      break;
  }
}

void FakeRank::run_rows(const StepPlan& plan, std::vector<uint64_t>& hidden) {
  hidden.resize(size_t(plan.num_tokens()));
  const auto each_token = [&](const auto& visit) {
    size_t token = 0;
    for (const PlanRow& row : plan.rows) {
      const Slot& slot = slots_[size_t(row.slot)];
      const bool drawn = row.ids_begin == kLastDrawn;
      CHECK(!drawn || slot.failed || slot.length - 1 == row.start)
          << "stage" << stage_ << "runs step" << plan.step << "without the draw it needs";
      if (slot.failed) hidden[token] = 0;  // a row nobody asks about: its draw failed before
      for (int32_t index = 0; index < row.count; ++index, ++token) {
        if (slot.failed) continue;
        const int32_t position = drawn ? slot.length - 1 : row.start + index;
        visit(slot, position, drawn ? slot.last_token : plan.row_ids[size_t(row.ids_begin + index)], token);
      }
    }
  };
  each_token([&](const Slot& slot, int32_t position, TokenId id, size_t token) {
    if (stage_ == 0) hidden[token] = model_.embed(id, position, slot.adapter);
    for (size_t group = 0; group < blocks_.size(); ++group) {
      entry(slot, group, position) = {id, position, hidden[token]};
      const int32_t block = slot.tables[group][size_t(position / model_.cluster().groups[group].block_size)];
      written_[group][size_t(block)] = true;
    }
  });
  each_token([&](const Slot& slot, int32_t position, TokenId, size_t token) {
    hidden[token] = model_.layer(stage_, hidden[token], attend(slot, position));
  });
}

KvEntry& FakeRank::entry(const Slot& slot, size_t group, int32_t position) {
  const int32_t size = model_.cluster().groups[group].block_size;
  CHECK(position >= 0 && size_t(position / size) < slot.tables[group].size())
      << "position" << position << "is in no block";
  const BlockId block = slot.tables[group][size_t(position / size)];
  CHECK_GE(block, 0) << "position" << position << "was dropped";
  return blocks_[group][size_t(block * size + position % size)];
}

uint64_t FakeRank::attend(const Slot& slot, int32_t position) {
  uint64_t total = 0;
  for (size_t group = 0; group < blocks_.size(); ++group) {
    const int32_t window = model_.cluster().groups[group].window;
    const int32_t first = window == 0 ? 0 : std::max(0, position - window + 1);
    for (int32_t read = first; read <= position; ++read) total += model_.attend(group, read, entry(slot, group, read));
  }
  return total;
}

OutputResult FakeRank::sample(const PlanOutput& output, uint64_t hidden, std::span<const TokenId> banned) const {
  const Slot& slot = slots_[size_t(output.slot)];
  if (output.kind == OutputKind::score) return model_.score(hidden, output.target, output.top_logprobs);
  FakeModel::Bans bans{{banned.begin(), banned.end()}, slot.lists.allowed};
  if (output.suppress) bans.ids.insert(bans.ids.end(), slot.suppressed.begin(), slot.suppressed.end());
  bans.ids.insert(bans.ids.end(), slot.lists.bias_ids.begin(), slot.lists.bias_ids.end());  // bans are all it plays
  if (output.kind == OutputKind::candidates)
    return model_.candidates(hidden, slot.sampling, slot.counts, bans, output.num_candidates, output.top_logprobs);
  return model_.draw(hidden, slot.sampling, slot.length, slot.counts, bans, output.top_logprobs);
}

void FakeRank::apply_draw(SlotId index, TokenId id) {
  Slot& slot = slots_[size_t(index)];
  slot.failed |= id < 0;
  if (id < 0) return;
  ++slot.length;
  slot.last_token = id;
  slot.counts += model_.count(id, false);
}

void FakeRank::scribble_slot(SlotId index) {
  Slot& slot = slots_[size_t(index)];
  slot.length = 1 << 20;
  slot.last_token = 0;
  slot.counts = 0xdead;
  slot.failed = false;
  for (auto& table : slot.tables) table.assign(1, 0);
}

void FakeRank::scribble_block(size_t group, BlockId block) {
  if (!written_[group][size_t(block)]) return;
  const auto size = size_t(model_.cluster().groups[group].block_size);
  std::fill_n(blocks_[group].begin() + long(size_t(block) * size), size, KvEntry{-7, -7, 0xbadbadbad});
  written_[group][size_t(block)] = false;
}

}  // namespace trireme::test
