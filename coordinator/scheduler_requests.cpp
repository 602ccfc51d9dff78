// The life of requests and their sequences: accepted, preempted, ended.

#include <algorithm>
#include <array>

#include "base/check.h"
#include "coordinator/scheduler.h"
#include "coordinator/token_bans.h"

namespace trireme {

const char* planted_fault_name(PlantedFault fault) {
  constexpr std::array names = {"none",
                                "block_freed_early",
                                "block_evicted_while_read",
                                "double_free",
                                "block_leaked_on_cancel",
                                "copy_missed",
                                "shared_block_written",
                                "salt_ignored",
                                "adapter_ignored",
                                "enrolled_before_computed",
                                "parent_ignored",
                                "slot_reused_early",
                                "retired_early",
                                "stale_result_applied",
                                "result_index_shifted",
                                "preempted_without_results",
                                "draws_needed_too_small",
                                "cancel_lost",
                                "last_chunk_off_by_one",
                                "history_cut",
                                "window_dropped_early",
                                "minimum_ignored",
                                "result_after_end",
                                "bans_too_early",
                                "beam_fork_missed",
                                "beam_id_missed",
                                "beam_slots_kept",
                                "beam_results_mixed",
                                "batches_overlap",
                                "batch_started_early",
                                "retained_forgotten",
                                "mixed_limit_ignored"};
  static_assert(names.size() == size_t(PlantedFault::count));
  return names.at(size_t(fault));
}

std::optional<std::string> Scheduler::why_never(const Request& request) const {
  const bool beams = request.sampling.is_beam_search();
  const int32_t n = beams ? 1 : request.sampling.n;
  if (n > std::min(cluster_.num_slots, cluster_.max_logit_rows) && request.emitted.empty()) {
    return "n = " + std::to_string(n) + " choices need as many sequences at once, and the engine runs " +
           std::to_string(std::min(cluster_.num_slots, cluster_.max_logit_rows)) +
           ": lower n, or start the engine with more (--max-num-seqs)";
  }
  const int64_t asked = int64_t(request.prompt.size()) + request.sampling.max_new_tokens;
  const auto length = int32_t(std::min(asked, int64_t(cluster_.max_model_len)));
  if (beams) {
    if (auto reason = why_no_beams(request, length)) return reason;
  }
  for (size_t group = 0; group < cluster_.groups.size(); ++group) {
    const KvGroupInfo& info = cluster_.groups[group];
    const int32_t blocks = blocks_.most_blocks(group, length);
    const int32_t entries = (length - 1 + info.block_size - 1) / info.block_size;
    const bool table_fits = cluster_.max_blocks_per_slot == 0 || entries <= cluster_.max_blocks_per_slot;
    if (blocks <= info.num_blocks && table_fits) continue;
    return std::to_string(length) + " tokens of prompt and output need " +
           std::to_string(table_fits ? blocks : entries) + " KV blocks of " + std::to_string(info.block_size) +
           " tokens, and the cache has " + std::to_string(table_fits ? info.num_blocks : cluster_.max_blocks_per_slot) +
           " for a sequence: shorten the prompt, lower max_new_tokens, or give the KV cache more memory "
           "(--gpu-memory-utilization)";
  }
  return std::nullopt;
}

void Scheduler::add(Request request) {
  CHECK(!requests_.contains(request.id)) << "request" << request.id << "is in work already";
  if (waiting_.size() >= size_t(options_.max_waiting)) {
    const std::string limit = std::to_string(options_.max_waiting);
    return refuse(request.id, "the engine's waiting queue is full (" + limit + " sequences): try again later", false);
  }
  if (const auto reason = why_never(request)) return refuse(request.id, *reason, true);

  const auto shared = std::make_shared<const Request>(std::move(request));
  AcceptedRequest& accepted = requests_[shared->id];
  if (shared->sampling.is_beam_search()) accept_beams(accepted, shared);
  for (int32_t choice = 0; !accepted.beams && choice < shared->sampling.n; ++choice) {
    const auto before = std::ranges::find(shared->emitted, choice, &EmittedChoice::choice);
    const SequencePtr sequence = make_sequence(shared, choice);
    accept_choice(accepted, sequence, before != shared->emitted.end() && before->finished);
  }
  ++next_arrival_;
  batcher_.arrived(*shared, accepted.unfinished, now_);
  forget_if_done(shared->id);
}

SequencePtr Scheduler::make_sequence(const std::shared_ptr<const Request>& request, int32_t choice) {
  auto sequence = std::make_shared<Sequence>(request);
  sequence->order = {request->priority, next_arrival_, choice};
  sequence->tokens = request->prompt;
  const int64_t asked = int64_t(request->prompt.size()) + request->sampling.max_new_tokens;
  sequence->max_length = int32_t(std::min(asked, int64_t(cluster_.max_model_len)));
  for (const EmittedChoice& emitted : request->emitted) {
    if (emitted.choice != choice) continue;
    sequence->tokens.insert(sequence->tokens.end(), emitted.ids.begin(), emitted.ids.end());
    sequence->emitted_before = int32_t(emitted.ids.size());
  }
  sequence->cache_salt = request->cache_salt;
  sequence->needs_host = has_moving_bans(*request);
  sequence->score_next = sequence->prompt_length();
  return sequence;
}

// The first choice computes the prompt and its scores. Of a fresh request the others fork from it; of a
// replayed one each has its own history and is a prefill of its own.
void Scheduler::accept_choice(AcceptedRequest& accepted, const SequencePtr& sequence, bool finished_before) {
  if (finished_before) return;
  const bool is_first = accepted.choices.empty();
  if (is_first && sequence->request->sampling.prompt_logprobs >= 0) sequence->score_next = 1;
  if (const FinishReason reason = sequence->finish_reason(); reason != FinishReason::none) {
    return emit_end(*sequence, reason);  // its last id was emitted, its end was not
  }
  accepted.choices.push_back(sequence);
  ++accepted.unfinished;
  if (is_first || !sequence->request->emitted.empty()) return queue(sequence);
  sequence->state = SequenceState::awaiting_fork;
  accepted.choices.front()->forks.push_back(sequence);
}

void Scheduler::queue(const SequencePtr& sequence) {
  sequence->state = SequenceState::waiting;
  waiting_.emplace(sequence->order, sequence);
}

// Recomputed later from its full history, once the ids it has in flight are part of that.
void Scheduler::preempt(const SequencePtr& sequence) {
  if (sequence->is_beam) return preempt_beams(requests_.at(sequence->request->id));
  withdraw(sequence);
}

void Scheduler::withdraw(const SequencePtr& sequence) {
  ++stats_.preemptions;
  leave_slot(*sequence);
  sequence->state = SequenceState::draining;
  const bool waits = sequence->outputs_in_flight > 0 && fault_ != PlantedFault::preempted_without_results;
  if (!waits) queue(sequence);
}

void Scheduler::leave_slot(Sequence& sequence) {
  SlotOrder& close = queued_orders_.emplace_back();
  close.kind = SlotOrderKind::close;
  close.slot = sequence.slot;
  slots_.release(sequence.slot, sequence.last_row);
  slots_.unreserve(int32_t(sequence.forks.size()));
  blocks_.release(sequence, sequence.last_row);
  slot_owners_.erase(sequence.slot);
  running_.erase(sequence.order);
  sequence.slot = -1;
  sequence.computed = 0;
  sequence.drew = false;
  sequence.awaits_choice = false;
}

void Scheduler::end(const SequencePtr& sequence) {
  if (sequence->state == SequenceState::ended) return;
  batcher_.sequence_ended(*sequence);
  if (sequence->state == SequenceState::running && !retain(sequence)) {
    leave_slot(*sequence);
    if (fault_ == PlantedFault::double_free) blocks_.release(*sequence, sequence->last_row);
  }
  if (sequence->state == SequenceState::waiting) waiting_.erase(sequence->order);
  sequence->state = SequenceState::ended;
  --requests_.at(sequence->request->id).unfinished;
}

void Scheduler::cancel(RequestId id, int32_t choice) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  AcceptedRequest& accepted = found->second;
  if (accepted.beams) {
    if (choice >= 0) return;
    if (fault_ == PlantedFault::cancel_lost) return;
    emit_aborted_beams(accepted);
    end_all(accepted);
    return forget_if_done(id);
  }
  for (const SequencePtr& sequence : accepted.choices) {
    if (sequence->state == SequenceState::ended) continue;
    if (choice >= 0 && (sequence->choice() != choice || !sequence->forks.empty() ||
                        sequence->state == SequenceState::awaiting_fork))
      continue;
    if (fault_ == PlantedFault::cancel_lost && sequence->state == SequenceState::running) continue;
    if (fault_ == PlantedFault::block_leaked_on_cancel) sequence->tables.clear();
    emit_end(*sequence, FinishReason::abort);
    end(sequence);
  }
  forget_if_done(id);
}

void Scheduler::cancel_all() {
  std::vector<RequestId> ids;
  for (const auto& [id, accepted] : requests_) ids.push_back(id);
  for (RequestId id : ids) cancel(id);
}

void Scheduler::emit_end(const Sequence& sequence, FinishReason reason) {
  TokenEvent event;
  event.request = sequence.request->id;
  event.choice = sequence.choice();
  event.index = sequence.num_drawn();
  event.finish = reason;
  event.stop_id = reason == FinishReason::stop ? sequence.tokens.back() : -1;
  events_.emplace_back(std::move(event));
}

void Scheduler::refuse(RequestId id, const std::string& message, bool client_fault) {
  events_.emplace_back(RequestFailedEvent{id, client_fault, message});
}

void Scheduler::fail(RequestId id, const std::string& message) {
  end_all(requests_.at(id));
  forget_if_done(id);
  refuse(id, message, false);
}

void Scheduler::end_all(AcceptedRequest& accepted) {
  for (const SequencePtr& sequence : accepted.choices) end(sequence);
  if (accepted.beams) give_back_slots(*accepted.beams);
}

void Scheduler::forget_if_done(RequestId id) {
  if (requests_.at(id).unfinished > 0) return;
  requests_.erase(id);
  leave_batch(id);
}

}  // namespace trireme
