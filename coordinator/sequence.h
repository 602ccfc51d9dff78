#pragma once
// One choice of one request as the scheduler sees it. Counters run ahead of the host's knowledge: they advance
// when a plan is submitted, the ids follow when its result arrives.
//
//   waiting ──admitted──► running ──────► ended (by a stop id, a length, a cancel or a failure)
//      ▲                     │ blocks run out
//      └──results arrived── draining            awaiting_fork ──its parent's prompt is computed──► running
//
// A beam of a beam search is a sequence, too: it waits for the results of all its search's beams, then goes on with
// the id chosen for it, or ends, or others fork from it.

#include <compare>
#include <memory>
#include <vector>

#include "coordinator/prefix_index.h"
#include "protocol/events.h"

namespace trireme {

enum class SequenceState : uint8_t { waiting, running, draining, awaiting_fork, ended };

// Who goes first: lower priority value, then earlier arrival, then lower choice.
struct SequenceOrder {
  int32_t priority = 0;
  int64_t arrival = 0;
  int32_t choice = 0;
  auto operator<=>(const SequenceOrder&) const = default;
};

// The blocks of one sequence in one KV group. `sent_*` is what the slot's table on the ranks holds.
struct BlockTable {
  std::vector<BlockId> blocks;  // [first, size): the sequence has a reference to each; before: -1, behind the window
  int32_t first = 0;
  int32_t sent_blocks = 0, sent_first = 0;
  int32_t enrolled = 0;    // leading blocks whose contents are in the prefix cache
  ChainKey chain;          // of the last of these
  bool enrollable = true;  // false once a block of the chain could not enter
};

// All that a decode step needs stands first, the request's part copied: between two steps the caches have forgotten
// every line of it, and a sequence costs as many misses as it has lines to touch.
struct Sequence {
  explicit Sequence(std::shared_ptr<const Request> of);

  SequenceState state = SequenceState::waiting;
  bool drew = false;           // its next id is on the device: decoding, no longer prefill
  bool awaits_choice = false;  // beam: its candidates are asked for; the search has yet to choose
  bool is_beam = false;        // of its request's beam search; order.choice only tells the beams apart
  bool needs_host = false;     // what may be drawn depends on ids that the host has to know: moving_bans()
  uint8_t top_logprobs = 0;    // asked for
  SlotId slot = -1;            // while it runs
  int32_t computed = 0;        // positions whose keys and values are submitted
  int32_t blocks_until = 0;    // positions before are writable: KvBlocks::extend has nothing to do for them
  int32_t enroll_from = 0;     // with fewer positions known KvBlocks::enroll has nothing to do
  int32_t outputs_in_flight = 0, draws_in_flight = 0;
  int32_t max_length = 0;        // of prompt and output
  int32_t min_new_tokens = 0;
  StepId last_draw = -1;         // the plan of its latest draw
  StepId last_row = -1;          // the last plan that touches its slot and blocks
  std::vector<TokenId> tokens;   // prompt and drawn ids, as far as the host knows them
  uint64_t ending_ids = 0;       // bit id % 64 is set for every id that ends it
  RequestId request_id = 0;
  int32_t prompt_tokens = 0;
  int32_t emitted_before = 0;  // drawn ids the request came with
  SequenceOrder order;

  std::shared_ptr<const Request> request;
  int32_t cached_tokens = -1;  // prompt tokens the first admission's prefix hit spared
  int32_t score_next = 0;      // next position to score; prompt_length() when none is left
  uint64_t cache_salt = 0;     // of its prefix chains
  std::vector<std::shared_ptr<Sequence>> forks;  // choices that will start from this one's prompt
  std::vector<BlockTable> tables;                // by KV group, while it has a slot

  int32_t choice() const { return order.choice; }
  int32_t prompt_length() const { return prompt_tokens; }
  int32_t num_drawn() const { return int32_t(tokens.size()) - prompt_length(); }
  int32_t submitted_length() const { return int32_t(tokens.size()) + draws_in_flight; }
  bool only_scores() const { return max_length == prompt_length(); }  // nothing is drawn behind the prompt
  // Positions to compute before the first draw; what the prompt's last one gives nobody needs where nothing is drawn.
  int32_t prefill_length() const { return int32_t(tokens.size()) - (only_scores() ? 1 : 0); }
  // Why the tokens known so far are all there will be; `none` while more may come.
  FinishReason finish_reason() const;
  bool needs_scores() const { return score_next < prompt_length(); }
  bool can_decode() const {
    return state == SequenceState::running && drew && !awaits_choice && submitted_length() < max_length;
  }
  bool can_prefill() const { return state == SequenceState::running && !drew; }
};

using SequencePtr = std::shared_ptr<Sequence>;

}  // namespace trireme
