// Beam searches: each beam is a sequence; the search chooses once the results of all of them are there.
//
// A search has `width` slots from its first admission to its end, or to its preemption. Its beams share their
// beginnings' blocks; after a preemption they find these again through the prefix cache, which serves a search even where
// it is turned off for requests (then under a salt of its own).

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/scheduler.h"

namespace trireme {

// Alone in the engine a search must always be able to go on: with the prompt's whole blocks once and everything else
// for each beam. Groups with windows drop what a later hit would need, so there nothing is shared for sure.
std::optional<std::string> Scheduler::why_no_beams(const Request& request, int32_t length) const {
  const int32_t width = request.sampling.beam_width;
  if (width > cluster_.num_slots)
    return "beam_width = " + std::to_string(width) + " needs as many sequences at once, and the engine runs " +
           std::to_string(cluster_.num_slots) + ": lower beam_width, or start the engine with more (--max-num-seqs)";
  if (!request.beam_stop.empty() && (!options_.tokenizer || !options_.tokenizer()))
    return "this engine has no tokenizer for the model, which stop strings of a beam search need: use stop_token_ids";
  for (size_t group = 0; group < cluster_.groups.size(); ++group) {
    const KvGroupInfo& info = cluster_.groups[group];
    const int32_t all = blocks_.most_blocks(group, length);
    const int32_t shared = cluster_.groups.size() == 1 && info.window == 0
                               ? (int32_t(request.prompt.size()) - 1) / info.block_size
                               : 0;
    const int64_t needed = shared + int64_t(width) * (all - shared);
    if (needed <= info.num_blocks) continue;
    return "a beam search of width " + std::to_string(width) + " over " + std::to_string(length) +
           " tokens of prompt and output may need " + std::to_string(needed) + " KV blocks of " +
           std::to_string(info.block_size) + " tokens, and the cache has " + std::to_string(info.num_blocks) +
           ": lower beam_width or max_new_tokens, or give the KV cache more memory (--gpu-memory-utilization)";
  }
  return std::nullopt;
}

// Nothing is emitted before a search's end, so one that is replayed starts from the prompt.
void Scheduler::accept_beams(AcceptedRequest& accepted, const std::shared_ptr<const Request>& request) {
  const auto is_finished = [](const EmittedChoice& emitted) { return emitted.finished; };
  const SequencePtr first = make_sequence(request, 0);
  const Tokenizer* tokenizer = request->beam_stop.empty() ? nullptr : options_.tokenizer();
  accepted.beams = std::make_unique<BeamGroup>(
      BeamGroup{.search = BeamSearch(*request, first->max_length - first->prompt_length(), tokenizer),
                .results = std::vector<std::optional<OutputResult>>(1),
                .width = request->sampling.beam_width});
  if (std::ranges::count_if(request->emitted, is_finished) == request->sampling.n) return;
  first->tokens = request->prompt;
  first->emitted_before = 0;
  first->is_beam = true;
  if (!options_.enable_prefix_caching) first->cache_salt = uint64_t(1) << 63 | uint64_t(next_arrival_);
  if (request->sampling.prompt_logprobs >= 0) first->score_next = 1;
  accepted.choices.push_back(first);
  accepted.unfinished = 1;
  queue(first);
}

int32_t Scheduler::slots_needed(const Sequence& sequence) const {
  if (!sequence.is_beam) return 1 + int32_t(sequence.forks.size());
  const BeamGroup& group = *requests_.at(sequence.request->id).beams;
  return group.holds_slots ? 0 : group.width;
}

SlotId Scheduler::take_slot(const Sequence& sequence) {
  if (!sequence.is_beam) return slots_.take();
  BeamGroup& group = beams_of(sequence);
  if (!std::exchange(group.holds_slots, true)) {
    slots_.reserve(group.width);
    group.reserved_slots = group.width;
  }
  --group.reserved_slots;
  return slots_.take_reserved();
}

void Scheduler::give_back_slots(BeamGroup& group) {
  if (!std::exchange(group.holds_slots, false)) return;
  slots_.unreserve(group.reserved_slots);
  group.reserved_slots = 0;
}

// Beams that come back after a preemption come one after the other, so that each finds the blocks of those before it.
bool Scheduler::must_wait_for_sibling(const Sequence& sequence, StepId step) const {
  if (!sequence.is_beam) return false;
  return std::ranges::any_of(requests_.at(sequence.request->id).choices, [&](const SequencePtr& beam) {
    return beam->state == SequenceState::running && (beam->can_prefill() || beam->last_row == step);
  });
}

// Sequences that may need a block while this one runs; a search's beams wait for each other.
int32_t Scheduler::num_running_beside(const Sequence& sequence) const {
  const auto running = int32_t(running_.size());
  if (!sequence.is_beam) return running;
  return running - int32_t(std::ranges::count_if(requests_.at(sequence.request->id).choices, [](const auto& beam) {
           return beam->state == SequenceState::running;
         }));
}

// Whether the plan has a row of it, or of a beam that would be preempted with it.
bool Scheduler::is_planned(const Sequence& sequence, StepId step) const {
  if (!sequence.is_beam) return sequence.last_row == step;
  return std::ranges::any_of(requests_.at(sequence.request->id).choices,
                             [&](const SequencePtr& beam) { return beam->last_row == step; });
}

// All beams together: none of them can go on without the others. What they were computing is computed again.
void Scheduler::preempt_beams(AcceptedRequest& accepted) {
  BeamGroup& group = *accepted.beams;
  for (const SequencePtr& beam : accepted.choices) {
    if (beam->state == SequenceState::running) withdraw(beam);
  }
  group.results.assign(accepted.choices.size(), std::nullopt);
  if (fault_ != PlantedFault::beam_slots_kept) give_back_slots(group);
}

void Scheduler::apply_candidates(const PlannedOutput& output, const OutputResult& result) {
  const Sequence& beam = *output.sequence;
  if (beam.state != SequenceState::running) return;  // ended, or preempted since
  const RequestId id = beam.request->id;
  if (result.non_finite) {
    blocks_.forget(beam);
    return fail(id, "the model's logits are not finite at position " + std::to_string(output.position) +
                        ": the weights or the prompt drive it out of the number format's range");
  }
  AcceptedRequest& accepted = requests_.at(id);
  BeamGroup& group = *accepted.beams;
  const auto place = std::ranges::find(accepted.choices, output.sequence) - accepted.choices.begin();
  CHECK_EQ(output.position, int32_t(beam.tokens.size())) << "candidates of a beam";
  group.results.at(size_t(place)) = result;
  if (!std::ranges::all_of(group.results, [](const auto& known) { return known.has_value(); })) return;

  std::vector<OutputResult> results;
  for (std::optional<OutputResult>& known : group.results) results.push_back(std::move(*known));
  if (fault_ == PlantedFault::beam_results_mixed && results.size() > 1) std::swap(results[0], results[1]);
  const std::vector<BeamSearch::Next> next = group.search.advance(results);
  if (next.empty()) return finish_beams(accepted);
  regroup(accepted, next);
}

// The first that goes on from a beam stays in its slot and blocks, the others fork from it, and one from which none goes
// on leaves. Forks are ordered before the chosen ids are appended.
void Scheduler::regroup(AcceptedRequest& accepted, const std::vector<BeamSearch::Next>& next) {
  BeamGroup& group = *accepted.beams;
  const std::vector<SequencePtr> before = std::exchange(accepted.choices, {});
  std::vector<SequencePtr> beams(next.size());
  std::vector<bool> goes_on(before.size()), taken(size_t(group.width));
  for (size_t index = 0; index < next.size(); ++index) {
    const auto parent = size_t(next[index].parent);
    if (goes_on[parent]) continue;
    goes_on[parent] = true;
    beams[index] = before[parent];
    taken[size_t(before[parent]->order.choice)] = true;
  }
  for (size_t parent = 0; parent < before.size(); ++parent)
    if (!goes_on[parent]) drop_beam(group, before[parent]);
  for (size_t index = 0; index < next.size(); ++index) {
    if (beams[index]) continue;
    const auto number = std::ranges::find(taken, false) - taken.begin();
    taken[size_t(number)] = true;
    beams[index] = fork_beam(group, before[size_t(next[index].parent)], int32_t(number));
  }
  for (size_t index = 0; index < next.size(); ++index) append_chosen(*beams[index], next[index].id);
  accepted.choices = std::move(beams);
  accepted.unfinished = int32_t(next.size());
  group.results.assign(next.size(), std::nullopt);
}

void Scheduler::drop_beam(BeamGroup& group, const SequencePtr& beam) {
  leave_slot(*beam);
  beam->state = SequenceState::ended;
  slots_.reserve(1);  // its slot stays the search's; every plan that touched it has retired
  ++group.reserved_slots;
}

SequencePtr Scheduler::fork_beam(BeamGroup& group, const SequencePtr& parent, int32_t number) {
  const auto child = std::make_shared<Sequence>(*parent);
  child->order.choice = number;
  child->slot = slots_.take_reserved();
  --group.reserved_slots;
  running_.emplace(child->order, child);
  slot_owners_[child->slot] = child;
  blocks_.fork(*parent, *child);
  SlotOrder order = fork_order(*parent, *child);
  if (fault_ == PlantedFault::beam_fork_missed && parent->num_drawn() > 0) {
    order.kind = SlotOrderKind::open;
    order.prompt_length = parent->prompt_length();
    order.history = parent->request->prompt;
  }
  queued_orders_.push_back(std::move(order));
  return child;
}

void Scheduler::append_chosen(Sequence& beam, TokenId id) {
  beam.tokens.push_back(id);
  beam.awaits_choice = false;
  if (fault_ == PlantedFault::beam_id_missed && beam.num_drawn() > 1) return;
  SlotOrder& order = queued_orders_.emplace_back();
  order.kind = SlotOrderKind::append;
  order.slot = beam.slot;
  order.token = id;
}

void Scheduler::finish_beams(AcceptedRequest& accepted) {
  const std::shared_ptr<const Request> request = accepted.choices.front()->request;
  const int32_t cached_tokens = accepted.choices.front()->cached_tokens;
  const std::vector<FinishedBeam> best = accepted.beams->search.best(size_t(request->sampling.n));
  if (int32_t(best.size()) < request->sampling.n) {
    return fail(request->id, "the beam search found " + std::to_string(best.size()) + " of the " +
                                 std::to_string(request->sampling.n) +
                                 " outputs asked for: masks, bans and stop ids leave no more");
  }
  end_all(accepted);
  for (size_t choice = 0; choice < best.size(); ++choice)
    emit_beam(*request, int32_t(choice), best[choice], cached_tokens);
  forget_if_done(request->id);
}

// Without what an earlier attempt had emitted: it is the same search. Where all tokens were and the end was not, the
// end alone.
void Scheduler::emit_beam(const Request& request, int32_t choice, const FinishedBeam& beam, int32_t cached_tokens) {
  const auto before = std::ranges::find(request.emitted, choice, &EmittedChoice::choice);
  const bool replayed = before != request.emitted.end();
  if (replayed && before->finished) return;
  const size_t size = beam.tokens.size();
  for (size_t index = std::min(replayed ? before->ids.size() : 0, size); index <= size; ++index) {
    TokenEvent event;
    event.request = request.id;
    event.choice = choice;
    event.index = int32_t(index);
    if (index < size) {
      event.token = beam.tokens[index].token;
      event.top = beam.tokens[index].top;
      ++stats_.generated_tokens;
    }
    if (index == 0) event.cached_tokens = cached_tokens;
    const bool last = index + 1 >= size;
    if (last) {
      event.finish = beam.reason;
      event.stop_id = beam.reason == FinishReason::stop && beam.stop_text.empty() ? beam.tokens.back().token.id : -1;
      event.beam_score = beam.score;
      event.stop_text = beam.stop_text;
    }
    events_.emplace_back(std::move(event));
    if (last) return;
  }
}

void Scheduler::emit_aborted_beams(const AcceptedRequest& accepted) {
  const Request& request = *accepted.choices.front()->request;
  for (int32_t choice = 0; choice < request.sampling.n; ++choice) {
    const auto before = std::ranges::find(request.emitted, choice, &EmittedChoice::choice);
    if (before != request.emitted.end() && before->finished) continue;
    TokenEvent event;
    event.request = request.id;
    event.choice = choice;
    event.index = before == request.emitted.end() ? 0 : int32_t(before->ids.size());
    event.finish = FinishReason::abort;
    events_.emplace_back(std::move(event));
  }
}

}  // namespace trireme
