// What goes into a plan once it is decided: slot orders, block orders, rows and outputs.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/scheduler.h"
#include "coordinator/token_bans.h"

namespace trireme {
namespace {

SlotSampling slot_sampling(const Sequence& sequence) {
  const SamplingParams& from = sequence.request->sampling;
  return {.seed = from.seed,
          .choice = sequence.choice(),
          .temperature = from.temperature,
          .top_k = from.top_k,
          .top_p = from.top_p,
          .min_p = from.min_p,
          .typical_p = from.typical_p,
          .repetition_penalty = from.repetition_penalty,
          .presence_penalty = from.presence_penalty,
          .frequency_penalty = from.frequency_penalty,
          .penalize_prompt = from.penalize_prompt};
}

// What may not be drawn before min_new_tokens; nothing when that is behind.
std::vector<TokenId> suppressed_ids(const Sequence& sequence) {
  const Request& request = *sequence.request;
  if (sequence.num_drawn() >= sequence.min_new_tokens) return {};
  std::set<TokenId> ids(request.eos_token_ids.begin(), request.eos_token_ids.end());
  ids.insert(request.sampling.stop_token_ids.begin(), request.sampling.stop_token_ids.end());
  return {ids.begin(), ids.end()};
}

}  // namespace

void Scheduler::open(Draft& draft, const SequencePtr& sequence, const CachedPrefix& prefix) {
  waiting_.erase(sequence->order);
  running_.emplace(sequence->order, sequence);
  sequence->state = SequenceState::running;
  sequence->slot = take_slot(*sequence);
  slot_owners_[sequence->slot] = sequence;
  slots_.reserve(int32_t(sequence->forks.size()));
  blocks_.take_prefix(*sequence, prefix);

  SlotOrder order;
  order.kind = SlotOrderKind::open;
  order.slot = sequence->slot;
  order.adapter = sequence->request->adapter;
  order.prompt_length = sequence->prompt_length();
  order.sampling = slot_sampling(*sequence);
  order.history = sequence->tokens;
  order.suppressed = suppressed_ids(*sequence);
  order.lists = standing_lists(*sequence->request);
  if (fault_ == PlantedFault::history_cut)
    order.history.erase(order.history.begin(), order.history.begin() + prefix.tokens);
  draft.plan.slots.push_back(std::move(order));

  stats_.prefix_queries += int64_t(sequence->tokens.size());
  stats_.prefix_hits += prefix.tokens;
  if (sequence->cached_tokens < 0) {
    sequence->cached_tokens = std::min(prefix.tokens, sequence->prompt_length());
    for (const SequencePtr& fork : sequence->forks) fork->cached_tokens = sequence->cached_tokens;
  }
  AcceptedRequest& accepted = requests_.at(sequence->request->id);
  if (!std::exchange(accepted.started, true)) stats_.prompt_tokens += sequence->prompt_length();
}

// Tokens of the sequence's next row from `start` that the draft has room for; 0: none. The last chunk brings one
// draw for the sequence and each of its forks; positions to score bring one output each.
int32_t Scheduler::fit_chunk(const Sequence& sequence, int32_t start, const Draft& draft) const {
  const int32_t total = sequence.prefill_length();
  const int32_t unscored = std::max(start, sequence.score_next - 1);  // the first position with a score to give
  const auto scores = [&](int32_t count) {
    return std::max(0, std::min(start + count, sequence.prompt_length() - 1) - unscored);
  };
  const int32_t draws = sequence.only_scores() ? 0 : 1 + int32_t(sequence.forks.size());
  int32_t count = std::min({total - start, max_chunk_, draft.tokens_left, draft.prefill_left});
  if (start + count == total && scores(count) + draws > draft.outputs_left) --count;
  if (scores(count) > draft.outputs_left) count = unscored + draft.outputs_left - start;
  return std::max(0, count);
}

void Scheduler::add_decode_row(Draft& draft, const SequencePtr& sequence) {
  CHECK_EQ(sequence->computed, sequence->submitted_length() - 1) << "a decode row computes the last token";
  if (sequence->computed >= sequence->blocks_until) {
    blocks_.extend(*sequence, sequence->computed + 1, draft.plan);
    blocks_.send(*sequence, draft.plan);
  }
  StepId needed = sequence->last_draw;
  if (fault_ == PlantedFault::draws_needed_too_small) --needed;
  draft.plan.draws_needed = std::max(draft.plan.draws_needed, needed);
  const int32_t row = int32_t(draft.plan.rows.size());
  draft.plan.rows.push_back({sequence->slot, sequence->computed, 1, kLastDrawn});
  draft.sequences.push_back(sequence.get());
  sequence->last_row = draft.plan.step;
  ++sequence->computed;
  --draft.tokens_left;
  add_draw(draft, sequence, row, 0);
}

void Scheduler::add_chunk(Draft& draft, const SequencePtr& sequence, int32_t count) {
  const int32_t start = sequence->computed, end = start + count;
  const bool last = end == sequence->prefill_length();
  const int32_t row = int32_t(draft.plan.rows.size());
  const int32_t ids_begin = int32_t(draft.plan.row_ids.size());
  blocks_.extend(*sequence, end, draft.plan);
  draft.plan.rows.push_back({sequence->slot, start, count, ids_begin});
  draft.plan.row_ids.insert(draft.plan.row_ids.end(), sequence->tokens.begin() + start, sequence->tokens.begin() + end);
  draft.sequences.push_back(sequence.get());
  draft.tokens_left -= count;
  draft.prefill_left -= count;
  sequence->last_row = draft.plan.step;
  sequence->computed = end;
  const std::vector<SequencePtr> forks = last ? sequence->forks : std::vector<SequencePtr>{};
  if (last) fork_choices(draft, sequence);
  blocks_.send(*sequence, draft.plan);
  for (const SequencePtr& fork : forks) blocks_.send(*fork, draft.plan);

  add_scores(draft, sequence, start, count);
  if (!last) return;
  if (sequence->only_scores()) {
    sequence->drew = true;  // its prefill is over; the end comes with its last score
    return;
  }
  int32_t offset = count - 1;
  if (fault_ == PlantedFault::last_chunk_off_by_one && offset > 0) --offset;
  add_draw(draft, sequence, row, offset);
  for (const SequencePtr& fork : forks) add_draw(draft, fork, row, offset);
}

SlotOrder Scheduler::fork_order(const Sequence& parent, const Sequence& child) {
  SlotOrder order;
  order.kind = SlotOrderKind::fork;
  order.slot = child.slot;
  order.source = parent.slot;
  order.sampling = slot_sampling(child);
  order.suppressed = suppressed_ids(child);
  return order;
}

void Scheduler::fork_choices(Draft& draft, const SequencePtr& parent) {
  for (const SequencePtr& child : parent->forks) {
    child->slot = slots_.take_reserved();
    child->state = SequenceState::running;
    child->computed = parent->computed;
    child->last_row = draft.plan.step;
    running_.emplace(child->order, child);
    slot_owners_[child->slot] = child;
    blocks_.fork(*parent, *child);
    draft.sequences.push_back(child.get());
    draft.plan.slots.push_back(fork_order(*parent, *child));
  }
  parent->forks.clear();
}

// The hidden state at a position scores the token behind it.
void Scheduler::add_scores(Draft& draft, const SequencePtr& sequence, int32_t start, int32_t count) {
  const int32_t row = int32_t(draft.plan.rows.size()) - 1;
  const int32_t end = std::min(start + count + 1, sequence->prompt_length());
  for (int32_t& position = sequence->score_next; position < end; ++position) {
    add_output(draft, sequence,
               {.kind = OutputKind::score,
                .slot = sequence->slot,
                .row = row,
                .offset = position - 1 - start,
                .position = position,
                .target = sequence->tokens[size_t(position)],
                .top_logprobs = uint8_t(std::max(0, sequence->request->sampling.prompt_logprobs))});
  }
}

void Scheduler::add_draw(Draft& draft, const SequencePtr& sequence, int32_t row, int32_t offset) {
  const int32_t position = sequence->submitted_length();
  const int32_t minimum = sequence->min_new_tokens - (fault_ == PlantedFault::minimum_ignored ? 1 : 0);
  PlanOutput output{.slot = sequence->slot,
                    .row = row,
                    .offset = offset,
                    .position = position,
                    .top_logprobs = sequence->top_logprobs,
                    .suppress = position - sequence->prompt_length() < minimum};
  sequence->drew = true;
  if (sequence->is_beam) {
    output.kind = OutputKind::candidates;
    output.num_candidates = uint8_t(beams_of(*sequence).search.candidates_per_beam());
    sequence->awaits_choice = true;
  } else {
    ++sequence->draws_in_flight;
    sequence->last_draw = draft.plan.step;
  }
  add_output(draft, sequence, output);
}

void Scheduler::add_output(Draft& draft, const SequencePtr& sequence, const PlanOutput& output) {
  draft.plan.outputs.push_back(output);
  draft.plan.sampling_follows |= sequence->needs_host && output.kind != OutputKind::score;
  draft.outputs.push_back({sequence, output.kind, output.position, output.slot});
  ++sequence->outputs_in_flight;
  --draft.outputs_left;
}

StepPlan Scheduler::launch(Draft draft) {
  StepPlan& plan = draft.plan;
  const auto prefill_tokens = int32_t(plan.row_ids.size());
  CHECK_GE(draft.tokens_left, 0);
  CHECK_GE(draft.outputs_left, 0);
  // A slot that is forked from is read here, whether or not its beam has a row.
  for (const SlotOrder& order : queued_orders_) {
    const auto owner = slot_owners_.find(order.kind == SlotOrderKind::fork ? order.source : order.slot);
    if (owner != slot_owners_.end()) owner->second->last_row = plan.step;
  }
  plan.slots.insert(plan.slots.begin(), queued_orders_.begin(), queued_orders_.end());
  queued_orders_.clear();
  // Draws that have retired are on every rank: waiting for them costs nothing, and a slot's late draws can
  // then never reach the slot's next owner.
  plan.draws_needed = std::max(plan.draws_needed, fault_ == PlantedFault::draws_needed_too_small ? -1 : retired_);
  planned_requests_.clear();
  for (Sequence* sequence : draft.sequences) {
    planned_requests_.push_back(sequence->request_id);
    blocks_.drop_behind_window(*sequence, plan.step);
    if (options_.enable_prefix_caching || sequence->is_beam) blocks_.enroll(*sequence);
  }
  if (!std::ranges::is_sorted(planned_requests_)) std::ranges::sort(planned_requests_);
  planned_requests_.erase(std::ranges::unique(planned_requests_).begin(), planned_requests_.end());
  in_flight_.push_back({plan.step, std::move(draft.outputs), plan.sampling_follows});
  last_prefill_ = prefill_tokens;
  ++next_step_;
  return std::move(plan);
}

}  // namespace trireme
