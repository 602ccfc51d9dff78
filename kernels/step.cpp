#include "kernels/step.h"

#include "kernels/backend.h"
#include "kernels/shape_check.h"

namespace trireme {

namespace cpu {
void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream& stream);
void fork_slots(const SlotState& state, TensorView pairs, const Stream& stream);
void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream& stream);
void update_block_table(TensorView block_table, TensorView updates, const Stream& stream);
void fork_block_table(TensorView block_table, TensorView forks, const Stream& stream);
void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream& stream);
}  // namespace cpu
namespace cuda {
void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream& stream);
void fork_slots(const SlotState& state, TensorView pairs, const Stream& stream);
void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream& stream);
void update_block_table(TensorView block_table, TensorView updates, const Stream& stream);
void fork_block_table(TensorView block_table, TensorView forks, const Stream& stream);
void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream& stream);
}  // namespace cuda

namespace {

Device check_state(const char* op, const SlotState& state) {
  CHECK_EQ(state.length.rank(), 1) << op << "length" << state.length.shape_text();
  const Device device = state.length.device();
  const int64_t slots = state.length.dim(0);
  check_contiguous(op, "length", state.length, DType::i32, device, {slots});
  check_contiguous(op, "last_token", state.last_token, DType::i32, device, {slots});
  if (!state.counts.empty())
    check_contiguous(op, "counts", state.counts, DType::u16, device, {slots, state.counts.dim(1)});
  return device;
}

void check_ints(const char* op, const char* what, const TensorView& view, Device device, int64_t count) {
  check_contiguous(op, what, view, DType::i32, device, {count});
}

// [n, columns]; returns n.
int64_t check_table(const char* op, const char* what, const TensorView& view, Device device, int64_t columns) {
  CHECK_EQ(view.rank(), 2) << op << what << view.shape_text();
  check_contiguous(op, what, view, DType::i32, device, {view.dim(0), columns});
  return view.dim(0);
}

}  // namespace

void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream& stream) {
  const Device device = check_state("open_slots", state);
  CHECK_EQ(slots.rank(), 1) << "open_slots: slots" << slots.shape_text();
  CHECK_EQ(ids.rank(), 1) << "open_slots: ids" << ids.shape_text();
  const int64_t count = slots.dim(0);
  check_ints("open_slots", "slots", slots, device, count);
  check_ints("open_slots", "prompt_lengths", prompt_lengths, device, count);
  check_ints("open_slots", "ids_begin", ids_begin, device, count + 1);
  check_ints("open_slots", "ids", ids, device, ids.dim(0));
  check_ints("open_slots", "track_counts", track_counts, device, count);
  if (count == 0) return;
  BACKEND(device, open_slots(state, slots, prompt_lengths, ids_begin, ids, track_counts, vocab_begin, stream));
}

void fork_slots(const SlotState& state, TensorView pairs, const Stream& stream) {
  const Device device = check_state("fork_slots", state);
  if (check_table("fork_slots", "pairs", pairs, device, 2) == 0) return;
  BACKEND(device, fork_slots(state, pairs, stream));
}

void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream& stream) {
  const Device device = check_state("apply_draws", state);
  CHECK_EQ(slots.rank(), 1) << "apply_draws: slots" << slots.shape_text();
  check_ints("apply_draws", "slots", slots, device, slots.dim(0));
  check_ints("apply_draws", "ids", ids, device, slots.dim(0));
  if (slots.dim(0) == 0) return;
  BACKEND(device, apply_draws(state, slots, ids, vocab_begin, stream));
}

void update_block_table(TensorView block_table, TensorView updates, const Stream& stream) {
  const Device device = block_table.device();
  CHECK_EQ(block_table.rank(), 2) << "update_block_table" << block_table.shape_text();
  check_table("update_block_table", "block_table", block_table, device, block_table.dim(1));
  if (check_table("update_block_table", "updates", updates, device, 3) == 0) return;
  BACKEND(device, update_block_table(block_table, updates, stream));
}

void fork_block_table(TensorView block_table, TensorView forks, const Stream& stream) {
  const Device device = block_table.device();
  CHECK_EQ(block_table.rank(), 2) << "fork_block_table" << block_table.shape_text();
  check_table("fork_block_table", "block_table", block_table, device, block_table.dim(1));
  if (check_table("fork_block_table", "forks", forks, device, 3) == 0) return;
  BACKEND(device, fork_block_table(block_table, forks, stream));
}

void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream& stream) {
  const Device device = check_state("resolve_tokens", state);
  CHECK_EQ(ids.rank(), 1) << "resolve_tokens: ids" << ids.shape_text();
  const int64_t count = ids.dim(0);
  check_ints("resolve_tokens", "ids", ids, device, count);
  check_ints("resolve_tokens", "positions", positions, device, count);
  check_ints("resolve_tokens", "given_ids", given_ids, device, count);
  check_ints("resolve_tokens", "given_positions", given_positions, device, count);
  check_ints("resolve_tokens", "slots", slots, device, count);
  if (count == 0) return;
  BACKEND(device, resolve_tokens(ids, positions, given_ids, given_positions, slots, state, stream));
}

}  // namespace trireme
