#pragma once
// Mistakes that the simulator plants to prove that it would find them (tests/coordinator/simulator_test.cpp).
// Programs pass none; each fault is one comparison at the place where the mistake would be made.

#include <cstdint>

namespace trireme {

enum class PlantedFault : uint8_t {
  none,
  block_freed_early,          // a released block is reusable while plans that read it are in flight
  block_evicted_while_read,   // a prefix hit does not take the block out of the evictable ones
  double_free,                // the blocks of an ended sequence are released twice
  block_leaked_on_cancel,     // a cancelled sequence keeps its blocks
  copy_missed,                // a fork's partial block is replaced, but its contents are not copied
  shared_block_written,       // a fork writes its partial block without copying it
  salt_ignored,               // prefix chains of different salts meet
  adapter_ignored,            // prefix chains of different adapters meet
  enrolled_before_computed,   // a block enters the prefix cache before its last positions are computed
  parent_ignored,             // a prefix chain is only its last block
  slot_reused_early,          // a slot is opened again while plans that draw for it are in flight
  retired_early,              // a result frees what the plan after it may touch, too
  stale_result_applied,       // slots are reused early and results are matched by slot
  result_index_shifted,       // dropping the result of an ended sequence shifts those behind it
  preempted_without_results,  // a preempted sequence is queued again while its draws are in flight
  draws_needed_too_small,     // a stage may run a row before the id it needs has arrived
  cancel_lost,                // a cancel of a running request is forgotten
  last_chunk_off_by_one,      // the draw after the last chunk reads the hidden state before
  history_cut,                // open sends only what a prefix hit left to compute
  window_dropped_early,       // one block too many is dropped behind a window
  minimum_ignored,            // the last token before min_new_tokens may be a stop id
  result_after_end,           // draws of a sequence that has ended are emitted
  bans_too_early,             // what may not be drawn is decided before the last id is known
  beam_fork_missed,           // a beam's slot is not made from its parent's
  beam_id_missed,             // the id chosen for a beam does not reach its slot
  beam_slots_kept,            // a preempted search keeps the slots that none of its beams was in
  beam_results_mixed,         // a search takes the results of two beams for each other's
  batches_overlap,            // the next batch starts before the last sequence of the one before has ended
  batch_started_early,        // a batch that is not full does not wait for more requests
  retained_forgotten,         // a static batch's end leaves the blocks of one of its sequences behind
  mixed_limit_ignored,        // prompts take all of a plan that others decode in
  count,
};

const char* planted_fault_name(PlantedFault fault);

}  // namespace trireme
