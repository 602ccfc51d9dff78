#include "runtime/slot_table.h"

#include <algorithm>

#include "kernels/attention.h"

namespace trireme {

SlotTable::SlotTable(const SlotTableOptions& options, KvPool& kv_pool, Device device)
    : options_(options),
      kv_pool_(kv_pool),
      device_(device),
      slots_(size_t(options.num_slots)),
      open_(size_t(options.num_slots)),
      length_(DType::i32, {options.num_slots}, device),
      last_token_(DType::i32, {options.num_slots}, device) {
  const Stream stream(device);
  const auto zeroed = [&](Tensor& tensor) {
    fill_zero_async(tensor.data(), size_t(tensor.view().bytes()), device, stream);
  };
  zeroed(length_);
  zeroed(last_token_);
  if (options.track_counts) counts_ = Tensor(DType::u16, {options.num_slots, options.vocab.size()}, device);
  for (int group = 0; group < kv_pool.num_groups(); ++group) {
    block_tables_.emplace_back(DType::i32,
                               std::initializer_list<int64_t>{options.num_slots, options.max_blocks_per_slot}, device);
    zeroed(block_tables_.back());
  }
  stream.synchronize();
  state_ = {length_, last_token_, counts_};
  for (SlotInfo& info : slots_) info.table_lengths.assign(size_t(kv_pool.num_groups()), 0);
  fork_lengths_.assign(slots_.size(), std::vector<int32_t>(size_t(kv_pool.num_groups()), 0));
  for (int entry = 0; entry < options.ring; ++entry) uploads_.emplace_back(device, 1 << 16);
}

SlotInfo& SlotTable::slot(SlotId id) {
  CHECK(id >= 0 && id < options_.num_slots) << "slot" << id;
  return slots_[size_t(id)];
}

const SlotInfo& SlotTable::info(SlotId id) const {
  check_open(id);
  return slots_[size_t(id)];
}

void SlotTable::check_open(SlotId slot) const {
  CHECK(slot >= 0 && slot < options_.num_slots && open_[size_t(slot)]) << "slot" << slot << "is not open";
}

namespace {

// One update per table entry: on the device they run side by side.
void set_table_entry(std::vector<int32_t>& updates, const BlockOrder& order) {
  if (order.kind == BlockOrderKind::replace)
    for (size_t i = 0; i < updates.size(); i += 3)
      if (updates[i] == order.slot && updates[i + 1] == order.index) {
        updates[i + 2] = order.block;
        return;
      }
  updates.insert(updates.end(), {order.slot, order.index, order.block});
}

}  // namespace

void SlotTable::apply_to_host(const SlotOrder& order) {
  SlotInfo& info = slot(order.slot);
  uint8_t& is_open = open_[size_t(order.slot)];
  if (order.kind == SlotOrderKind::append) {
    CHECK(is_open) << "append to slot" << order.slot;
    return;
  }
  ++version_;
  if (order.kind == SlotOrderKind::close) {
    CHECK(is_open) << "close of slot" << order.slot;
    is_open = false;
    return;
  }
  CHECK(!is_open) << "slot" << order.slot << "opened twice";
  is_open = true;
  info.sampling = order.sampling;
  info.suppressed = order.suppressed;
  if (order.kind == SlotOrderKind::fork) {
    const SlotInfo& source = this->info(order.source);
    info.prompt_length = source.prompt_length;
    info.table_lengths = source.table_lengths;
    info.lists = source.lists;
    return;
  }
  CHECK(!order.history.empty() && order.prompt_length <= int32_t(order.history.size()))
      << "history of slot" << order.slot;
  info.prompt_length = order.prompt_length;
  info.lists = order.lists.empty() ? nullptr : std::make_shared<const SlotLists>(order.lists);
  std::fill(info.table_lengths.begin(), info.table_lengths.end(), 0);
}

// One launch per run of orders of a kind. Inside one they run side by side, so a run ends where an order touches
// a slot that an earlier one of it writes, or writes one that an earlier one reads.
void SlotTable::queue_slots(const StepPlan& plan, PackedUpload& upload) {
  std::vector<const SlotOrder*> run;
  const auto flush = [&] {
    if (!run.empty()) queue_run(run, upload);
    run.clear();
  };
  for (const SlotOrder& order : plan.slots) {
    const bool joins = run.empty() || run.back()->kind == order.kind;
    const auto conflicts = [&](const SlotOrder* other) {
      return other->slot == order.slot || (order.kind == SlotOrderKind::fork &&
                                           (other->slot == order.source || other->source == order.slot));
    };
    const bool device = order.kind != SlotOrderKind::close;  // a close is the host's business alone
    if (device && (!joins || std::ranges::any_of(run, conflicts))) flush();
    apply_to_host(order);
    if (!device) continue;
    run.push_back(&order);
    // What a fork copies of its source is what the source has now.
    if (order.kind == SlotOrderKind::fork) fork_lengths_[size_t(order.slot)] = slot(order.slot).table_lengths;
  }
  flush();
}

void SlotTable::queue_run(const std::vector<const SlotOrder*>& run, PackedUpload& upload) {
  switch (run.front()->kind) {
    case SlotOrderKind::open: return queue_opens(run, upload);
    case SlotOrderKind::fork: return queue_forks(run, upload);
    case SlotOrderKind::append: return queue_appends(run, upload);
    case SlotOrderKind::close: break;
  }
  CHECK(false) << "a run of closes";
}

void SlotTable::queue_opens(const std::vector<const SlotOrder*>& run, PackedUpload& upload) {
  std::vector<int32_t> slots, prompt_lengths, begins{0}, ids, track;
  for (const SlotOrder* order : run) {
    slots.push_back(order->slot);
    prompt_lengths.push_back(order->prompt_length);
    ids.insert(ids.end(), order->history.begin(), order->history.end());
    begins.push_back(int32_t(ids.size()));
    track.push_back(!options_.track_counts ? 0 : order->sampling.penalize_prompt ? 1 : 2);
  }
  const TensorView a = upload.add(slots), b = upload.add(prompt_lengths), c = upload.add(begins), d = upload.add(ids),
                   e = upload.add(track);
  queued_.push_back(
      [=, this](const Stream& stream) { open_slots(state_, a, b, c, d, e, options_.vocab.begin, stream); });
}

void SlotTable::queue_forks(const std::vector<const SlotOrder*>& run, PackedUpload& upload) {
  std::vector<int32_t> pairs;
  std::vector<std::vector<int32_t>> tables(block_tables_.size());
  for (const SlotOrder* order : run) {
    pairs.insert(pairs.end(), {order->source, order->slot});
    for (size_t group = 0; group < tables.size(); ++group)
      tables[group].insert(tables[group].end(),
                           {order->source, order->slot, fork_lengths_[size_t(order->slot)][group]});
  }
  const int64_t forks = int64_t(run.size());
  const TensorView state_pairs = upload.add(pairs).reshape({forks, 2});
  queued_.push_back([=, this](const Stream& stream) { fork_slots(state_, state_pairs, stream); });
  for (size_t group = 0; group < tables.size(); ++group) {
    const TensorView rows = upload.add(tables[group]).reshape({forks, 3});
    queued_.push_back([=, this](const Stream& stream) { fork_block_table(block_tables_[group], rows, stream); });
  }
}

void SlotTable::queue_appends(const std::vector<const SlotOrder*>& run, PackedUpload& upload) {
  std::vector<int32_t> slots, ids;
  for (const SlotOrder* order : run) {
    slots.push_back(order->slot);
    ids.push_back(order->token);
  }
  const TensorView a = upload.add(slots), b = upload.add(ids);
  queued_.push_back([=, this](const Stream& stream) { apply_draws(state_, a, b, options_.vocab.begin, stream); });
}

void SlotTable::queue_blocks(const StepPlan& plan, PackedUpload& upload) {
  for (size_t group = 0; group < block_tables_.size(); ++group) {
    std::vector<int32_t> updates, copies;
    for (const BlockOrder& order : plan.blocks) {
      if (order.group != group) continue;
      CHECK(order.block >= 0 && order.block < kv_pool_.num_blocks(int(group))) << "block" << order.block;
      if (order.kind == BlockOrderKind::copy) {
        copies.insert(copies.end(), {order.source, order.block});
        continue;
      }
      if (order.kind == BlockOrderKind::drop_prefix) continue;  // attention's window never looks there
      int32_t& length = slot(order.slot).table_lengths[group];
      CHECK(open_[size_t(order.slot)]) << "block order for closed slot" << order.slot;
      if (order.kind == BlockOrderKind::append)
        CHECK_EQ(order.index, length++) << "append to the table of slot" << order.slot;
      else
        CHECK_LT(order.index, length) << "replace in the table of slot" << order.slot;
      CHECK_LE(length, options_.max_blocks_per_slot) << "table of slot" << order.slot;
      set_table_entry(updates, order);
    }
    if (!updates.empty()) {
      const TensorView rows = upload.add(updates).reshape({int64_t(updates.size()) / 3, 3});
      queued_.push_back([=, this](const Stream& stream) { update_block_table(block_tables_[group], rows, stream); });
    }
    if (!copies.empty()) {
      const TensorView pairs = upload.add(copies).reshape({int64_t(copies.size()) / 2, 2});
      queued_.push_back([=, this](const Stream& stream) { kv_pool_.copy(int(group), pairs, stream); });
    }
  }
}

int64_t SlotTable::upload_bytes(const StepPlan& plan, int groups) {
  int64_t elements = 64 + int64_t(plan.blocks.size()) * 3 + int64_t(plan.slots.size()) * (8 + 3 * groups);
  for (const SlotOrder& order : plan.slots) elements += int64_t(order.history.size());
  // Each piece of an upload is padded; a slot order that is a run of its own has at most 5 + groups of them.
  return PackedUpload::bytes_for(elements) + 16 * (8 + 3 * groups) * int64_t(1 + plan.slots.size());
}

void SlotTable::warm_up(const Stream& stream) {
  if (options_.num_slots == 0) return;
  StepPlan plan;
  plan.slots.push_back({.kind = SlotOrderKind::open, .slot = 0, .prompt_length = 1, .sampling = {}, .history = {0},
                        .suppressed = {}, .lists = {}});
  for (size_t group = 0; group < block_tables_.size(); ++group)
    plan.blocks.push_back({.kind = BlockOrderKind::append, .group = uint8_t(group)});
  apply(plan, 0, stream);
  stream.synchronize();
  StepPlan end;
  end.slots.push_back({.kind = SlotOrderKind::close, .slot = 0, .sampling = {}, .history = {}, .suppressed = {},
                       .lists = {}});
  apply(end, 0, stream);
}

void SlotTable::apply(const StepPlan& plan, int entry, const Stream& stream) {
  if (plan.slots.empty() && plan.blocks.empty()) return;
  PackedUpload& upload = uploads_[size_t(entry)];
  upload.clear();
  upload.reserve(upload_bytes(plan, kv_pool_.num_groups()));
  queued_.clear();
  queue_slots(plan, upload);
  queue_blocks(plan, upload);
  upload.upload(stream);
  for (const auto& work : queued_) work(stream);
}

}  // namespace trireme
