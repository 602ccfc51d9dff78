#include "kernels/step.h"

#include <algorithm>

namespace trireme::cpu {
namespace {

constexpr uint16_t kInPrompt = 0x8000, kMaxDrawn = 0x7fff;

void count_draw(uint16_t& count) {
  if ((count & kMaxDrawn) < kMaxDrawn) ++count;
}

int32_t checked_slot(const SlotState& state, int32_t slot) {
  CHECK(slot >= 0 && slot < state.length.dim(0)) << "slot" << slot << "of" << state.length.dim(0);
  return slot;
}

// The counts row of a history: the prompt's ids get `prompt_mark`, the drawn ones are counted.
void count_history(TensorView row, const int32_t* ids, int64_t count, int64_t prompt_length, int64_t vocab_begin,
                   uint16_t prompt_mark) {
  uint16_t* counts = row.as<uint16_t>();
  std::fill_n(counts, row.dim(0), uint16_t(0));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t local = ids[i] - vocab_begin;
    if (local < 0 || local >= row.dim(0)) continue;
    if (i < prompt_length)
      counts[local] |= prompt_mark;
    else
      count_draw(counts[local]);
  }
}

}  // namespace

void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream&) {
  const int32_t* begin = ids_begin.as<int32_t>();
  for (int64_t i = 0; i < slots.dim(0); ++i) {
    const int32_t slot = checked_slot(state, slots.as<int32_t>()[i]);
    const int64_t count = begin[i + 1] - begin[i];
    CHECK(begin[i] >= 0 && count >= 0 && begin[i + 1] <= ids.dim(0))
        << "open_slots: ids" << begin[i] << "to" << begin[i + 1];
    const int32_t* history = ids.as<int32_t>() + begin[i];
    state.length.as<int32_t>()[slot] = int32_t(count);
    state.last_token.as<int32_t>()[slot] = count > 0 ? history[count - 1] : -1;
    const int32_t track = track_counts.as<int32_t>()[i];
    CHECK(track >= 0 && track <= 2) << "open_slots: track_counts" << track;
    if (track == 0 || state.counts.empty()) continue;
    count_history(state.counts.select(slot), history, count, prompt_lengths.as<int32_t>()[i], vocab_begin,
                  track == 1 ? kInPrompt : uint16_t(0));
  }
}

void fork_slots(const SlotState& state, TensorView pairs, const Stream&) {
  const int32_t* pair = pairs.as<int32_t>();
  for (int64_t i = 0; i < pairs.dim(0); ++i) {
    const int32_t source = checked_slot(state, pair[2 * i]), fresh = checked_slot(state, pair[2 * i + 1]);
    state.length.as<int32_t>()[fresh] = state.length.as<int32_t>()[source];
    state.last_token.as<int32_t>()[fresh] = state.last_token.as<int32_t>()[source];
    if (state.counts.empty() || source == fresh) continue;
    const TensorView row = state.counts.select(source);
    std::copy_n(row.as<uint16_t>(), row.dim(0), state.counts.select(fresh).as<uint16_t>());
  }
}

void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream&) {
  for (int64_t i = 0; i < slots.dim(0); ++i) {
    const int32_t id = ids.as<int32_t>()[i];
    if (id < 0) continue;
    const int32_t slot = checked_slot(state, slots.as<int32_t>()[i]);
    ++state.length.as<int32_t>()[slot];
    state.last_token.as<int32_t>()[slot] = id;
    if (state.counts.empty()) continue;
    const int64_t local = id - vocab_begin;
    if (local >= 0 && local < state.counts.dim(1)) count_draw(state.counts.select(slot).as<uint16_t>()[local]);
  }
}

void update_block_table(TensorView block_table, TensorView updates, const Stream&) {
  for (int64_t i = 0; i < updates.dim(0); ++i) {
    const int32_t* update = updates.as<int32_t>() + 3 * i;
    CHECK(update[0] >= 0 && update[0] < block_table.dim(0) && update[1] >= 0 && update[1] < block_table.dim(1))
        << "update_block_table: slot" << update[0] << "entry" << update[1] << "of" << block_table.shape_text();
    block_table.as<int32_t>()[update[0] * block_table.stride(0) + update[1]] = update[2];
  }
}

void fork_block_table(TensorView block_table, TensorView forks, const Stream&) {
  for (int64_t i = 0; i < forks.dim(0); ++i) {
    const int32_t* fork = forks.as<int32_t>() + 3 * i;
    CHECK(fork[0] >= 0 && fork[0] < block_table.dim(0) && fork[1] >= 0 && fork[1] < block_table.dim(0) &&
          fork[2] >= 0 && fork[2] <= block_table.dim(1))
        << "fork_block_table:" << fork[2] << "blocks of slot" << fork[0] << "to" << fork[1] << "in"
        << block_table.shape_text();
    if (fork[0] == fork[1]) continue;
    const int32_t* source = block_table.as<int32_t>() + fork[0] * block_table.stride(0);
    std::copy_n(source, fork[2], block_table.as<int32_t>() + fork[1] * block_table.stride(0));
  }
}

void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream&) {
  for (int64_t t = 0; t < ids.dim(0); ++t) {
    const int32_t given = given_ids.as<int32_t>()[t];
    int32_t id = given, position = given_positions.as<int32_t>()[t];
    if (given == -1) {
      const int32_t slot = checked_slot(state, slots.as<int32_t>()[t]);
      id = state.last_token.as<int32_t>()[slot];
      position = state.length.as<int32_t>()[slot] - 1;
    }
    ids.as<int32_t>()[t] = id;
    positions.as<int32_t>()[t] = position;
  }
}

}  // namespace trireme::cpu
