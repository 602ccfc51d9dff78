#pragma once
// The device-resident state of every slot, and the small ops that apply a plan's deltas to it. A slot's state
// advances on the device when a token is drawn, so the next step can be launched before the host has seen it.

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

struct SlotState {
  TensorView length;      // [slots] i32   tokens of the sequence so far, drawn ones included (history, not KV)
  TensorView last_token;  // [slots] i32   the token at position length - 1
  TensorView counts;      // [slots, vocab_local] u16, last stage only (else empty): bit 15 = in the prompt (where
                          // that counts), bits 0-14 = times drawn, saturating. Row s is only valid where a penalty
                          // needs it.
};

// Opens: slot s gets a history of `ids` (prompt_length of them are the prompt).
//   slots, prompt_lengths: [n] i32;  ids_begin: [n + 1] i32 into ids: [total] i32;  track_counts: [n] i32.
//   0: the row of counts is left as it is. Else it is zeroed and filled from the ids that fall into
//   [vocab_begin, vocab_begin + vocab_local): 1: the prompt's are marked and the drawn ones counted; 2: only the drawn
//   ones are counted, so that penalties do not see the prompt.
void open_slots(const SlotState& state, TensorView slots, TensorView prompt_lengths, TensorView ids_begin,
                TensorView ids, TensorView track_counts, int64_t vocab_begin, const Stream& stream);

// pairs: [n, 2] i32 (source slot, new slot), in order: length, last_token and counts row are copied.
void fork_slots(const SlotState& state, TensorView pairs, const Stream& stream);

// draws: slots [n] i32, ids [n] i32 (negative: nothing was drawn, skip): appends each id: length += 1, last_token = id,
// counts += 1 where id is in this shard's vocabulary.
void apply_draws(const SlotState& state, TensorView slots, TensorView ids, int64_t vocab_begin, const Stream& stream);

// block_table[update[0], update[1]] = update[2].   updates: [n, 3] i32, no entry twice;
// block_table: [slots, max_blocks] i32.
void update_block_table(TensorView block_table, TensorView updates, const Stream& stream);
// block_table[new, :blocks] = block_table[source, :blocks].  forks: [n, 3] i32 (source, new, blocks).
void fork_block_table(TensorView block_table, TensorView forks, const Stream& stream);

// Resolves a step's tokens. given_ids: [T] i32, -1 = the slot's last drawn token; given_positions: [T] i32 (ignored
// for -1: then length - 1).  slots: [T] i32.  Writes ids, positions: [T] i32.
void resolve_tokens(TensorView ids, TensorView positions, TensorView given_ids, TensorView given_positions,
                    TensorView slots, const SlotState& state, const Stream& stream);

}  // namespace trireme
