#include "coordinator/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

int32_t largest_chunk(const ClusterInfo& cluster, const SchedulerOptions& options) {
  if (options.prefill_chunk <= 0) return cluster.max_batched_tokens;
  return std::min(options.prefill_chunk, cluster.max_batched_tokens);
}

}  // namespace

Scheduler::Scheduler(const ClusterInfo& cluster, const SchedulerOptions& options, PlantedFault fault)
    : cluster_(cluster),
      options_(options),
      fault_(fault),
      max_chunk_(largest_chunk(cluster, options)),
      blocks_(cluster, max_chunk_, fault),
      slots_(cluster.num_slots, fault),
      batcher_(options.batching, cluster.num_slots, fault) {
  CHECK_GT(cluster.num_slots, 0);
  CHECK_GT(cluster.max_batched_tokens, 0);
  CHECK_GT(cluster.max_logit_rows, 0);
  CHECK_GT(cluster.max_model_len, 0);
  CHECK_GT(cluster.pp, 0);
  CHECK_GT(options.mixed_step_multiple, 0);
}

Scheduler::Draft Scheduler::new_draft() const {
  Draft draft;
  draft.plan.step = next_step_;
  draft.tokens_left = cluster_.max_batched_tokens;
  draft.outputs_left = cluster_.max_logit_rows;
  draft.prefill_left = prefill_share();
  return draft;
}

void Scheduler::Draft::reserve(size_t decode_rows) {
  plan.rows.reserve(decode_rows);
  plan.outputs.reserve(decode_rows);
  outputs.reserve(decode_rows);
  sequences.reserve(decode_rows);
}

std::optional<StepPlan> Scheduler::next_plan() {
  if (in_flight() >= cluster_.max_in_flight()) return std::nullopt;
  do {
    Draft draft = new_draft();
    schedule_decodes(draft, true);
    schedule_prefills(draft);
    admit_waiting(draft);
    if (draft.plan.rows.empty()) schedule_decodes(draft, false);
    if (!draft.plan.rows.empty()) return launch(std::move(draft));
  } while (in_flight_.empty() && (release_retained() || give_way()));
  return std::nullopt;
}

// Nothing can run and no result is to come: beams hold blocks while their siblings wait for some. The youngest
// makes room, until the first in order has all it needs: why_never() saw to it that it fits alone.
bool Scheduler::give_way() {
  if (running_.empty()) return false;
  const Sequence* first = running_.begin()->second.get();
  const SequencePtr waiting = batcher_.next(waiting_);
  if (waiting && waiting->order < first->order) first = waiting.get();
  for (auto youngest = running_.rbegin(); youngest != running_.rend(); ++youngest) {
    if (youngest->second->request == first->request) continue;
    preempt(SequencePtr(youngest->second));
    return true;
  }
  // Alone, and still one beam finds no room: its siblings' blocks were not in the prefix cache, since another request's
  // blocks were in their place. Computed again, they will be: nobody else owns a block now.
  if (!waiting || waiting.get() != first || !first->is_beam) return false;
  preempt_beams(requests_.at(first->request->id));
  return true;
}

// Least recently scheduled first, so that nobody starves where a plan cannot take all.
void Scheduler::schedule_decodes(Draft& draft, bool spread_over_stages) {
  std::vector<SequencePtr> ready;
  ready.reserve(running_.size());
  for (const auto& [order, sequence] : running_) {
    if (sequence->can_decode()) ready.push_back(sequence);
  }
  const auto last_row = [](const SequencePtr& sequence) { return sequence->last_row; };
  if (!std::ranges::is_sorted(ready, {}, last_row)) std::ranges::stable_sort(ready, {}, last_row);
  draft.reserve(ready.size());
  int64_t share = (int64_t(ready.size()) + cluster_.pp - 1) / cluster_.pp;
  for (const SequencePtr& sequence : ready) {
    if (share == 0 || draft.tokens_left == 0 || draft.outputs_left == 0) return;
    if (spread_over_stages && draft.plan.step - sequence->last_draw < cluster_.pp) continue;
    if (!sequence->can_decode() || !make_room(sequence, sequence->computed + 1, draft)) continue;
    add_decode_row(draft, sequence);
    --share;
  }
}

void Scheduler::schedule_prefills(Draft& draft) {
  std::vector<SequencePtr> ready;
  for (const auto& [order, sequence] : running_) {
    if (sequence->can_prefill()) ready.push_back(sequence);
  }
  for (const SequencePtr& sequence : ready) {
    if (!sequence->can_prefill()) continue;
    const int32_t count = fit_chunk(*sequence, sequence->computed, draft);
    if (count == 0 || !make_room(sequence, sequence->computed + count, draft)) continue;
    add_chunk(draft, sequence, count);
  }
}

// In order, without overtaking: a request that needs much room gets it. One block per running sequence stays
// free, so that an admission is not undone by the next decode rows.
void Scheduler::admit_waiting(Draft& draft) {
  batcher_.form(waiting_, now_);
  while (const SequencePtr sequence = batcher_.next(waiting_)) {
    if (must_wait_for_sibling(*sequence, draft.plan.step)) return;
    if (slots_.available() < slots_needed(*sequence)) {
      if (release_retained()) continue;
      return;
    }
    CachedPrefix prefix;
    prefix.matches.resize(cluster_.groups.size());
    const bool may_hit = (options_.enable_prefix_caching || sequence->is_beam) && !sequence->needs_scores();
    if (may_hit) prefix = blocks_.find_prefix(*sequence);
    const int32_t count = fit_chunk(*sequence, prefix.tokens, draft);
    if (count == 0) return;
    if (!blocks_.has_room_to_admit(*sequence, prefix, num_running_beside(*sequence))) {
      if (release_retained()) continue;
      return;
    }
    open(draft, sequence, prefix);
    CHECK(blocks_.room_until(*sequence, prefix.tokens + count) == Room::now) << "admitted without room";
    add_chunk(draft, sequence, count);
  }
}

// Preempts the youngest of those behind `sequence` while its blocks are missing. Blocks of a preempted sequence
// that plans in flight still read come back when these have retired; until then `sequence` waits.
bool Scheduler::make_room(const SequencePtr& sequence, int32_t end, const Draft& draft) {
  if (end <= sequence->blocks_until) return true;
  for (;;) {
    const Room room = blocks_.room_until(*sequence, end);
    if (room != Room::short_of_blocks) return room == Room::now;
    if (release_retained()) continue;
    const SequencePtr victim = youngest_after(*sequence, draft.plan.step);
    if (!victim) return false;
    preempt(victim);
  }
}

SequencePtr Scheduler::youngest_after(const Sequence& sequence, StepId step) const {
  const auto is_own_search = [&](const Sequence& other) { return other.is_beam && other.request == sequence.request; };
  for (auto youngest = running_.rbegin(); youngest != running_.rend() && youngest->first > sequence.order; ++youngest) {
    if (!is_planned(*youngest->second, step) && !is_own_search(*youngest->second)) return youngest->second;
  }
  return nullptr;
}

}  // namespace trireme
