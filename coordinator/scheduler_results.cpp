// What becomes of a plan's results.

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "coordinator/scheduler.h"
#include "coordinator/token_bans.h"

namespace trireme {
namespace {

std::vector<TokenScore> top_scores(const OutputResult& result) {
  std::vector<TokenScore> top;
  top.reserve(result.top.size());
  for (const TokenLogprob& token : result.top) top.push_back({token.id, token.logprob});
  return top;
}

}  // namespace

// A sequence that ended after the plan was submitted has wasted a row: its result is dropped here.
void Scheduler::on_result(const StepResult& result) {
  CHECK(!in_flight_.empty()) << "a result without a plan, step" << result.step;
  InFlightPlan done = std::move(in_flight_.front());
  in_flight_.pop_front();
  CHECK_EQ(result.step, done.step);
  CHECK_EQ(result.outputs.size(), done.outputs.size()) << "outputs of step" << done.step;
  retired_ = done.step;
  const StepId released = retired_ + (fault_ == PlantedFault::retired_early ? 1 : 0);
  blocks_.retire(released);
  slots_.retire(released);

  PromptLogprobsEvent scores;
  size_t dropped = 0;
  events_.reserve(events_.size() + done.outputs.size());
  for (size_t index = 0; index < done.outputs.size(); ++index) {
    PlannedOutput& output = done.outputs[index];
    if (fault_ == PlantedFault::stale_result_applied && slot_owners_.contains(output.slot)) {
      output.sequence = slot_owners_.at(output.slot);
    }
    Sequence& sequence = *output.sequence;
    const OutputResult& given = result.outputs[fault_ == PlantedFault::result_index_shifted ? index - dropped : index];
    dropped += sequence.state == SequenceState::ended;
    --sequence.outputs_in_flight;
    if (output.kind == OutputKind::score) {
      apply_score(output, given, scores);
    } else if (output.kind == OutputKind::candidates) {
      flush_scores(scores);
      apply_candidates(output, given);
    } else {
      flush_scores(scores);
      apply_draw(output, given);
    }
    if (sequence.state == SequenceState::draining && sequence.outputs_in_flight == 0) queue(output.sequence);
  }
  flush_scores(scores);
  ++stats_.steps;
  stats_.device_seconds += result.device_ms / 1000;
  stats_.worker_cpu_seconds += result.cpu_ms / 1000;
}

// A plan's sampling can be told once every id before its draws is known. A sequence that has ended needs nothing.
std::vector<SamplingOrders> Scheduler::take_sampling_orders() {
  std::vector<SamplingOrders> ready;
  const auto needs = [](const PlannedOutput& output) {
    return output.sequence->needs_host && output.kind != OutputKind::score &&
           output.sequence->state != SequenceState::ended;
  };
  for (InFlightPlan& plan : in_flight_) {
    if (!plan.owes_sampling) continue;
    const bool known = std::ranges::all_of(plan.outputs, [&](const PlannedOutput& output) {
      return !needs(output) || int32_t(output.sequence->tokens.size()) >= output.position;
    });
    if (!known && fault_ != PlantedFault::bans_too_early) break;
    plan.owes_sampling = false;
    SamplingOrders& orders = ready.emplace_back();
    orders.step = plan.step;
    orders.bias_begin.push_back(0);
    for (const PlannedOutput& output : plan.outputs) {
      if (needs(output)) {
        const auto history = std::span(output.sequence->tokens);
        const size_t length = std::min(size_t(output.position), history.size());
        const std::vector<TokenId> banned = moving_bans(*output.sequence->request, history.first(length));
        orders.bias_ids.insert(orders.bias_ids.end(), banned.begin(), banned.end());
      }
      orders.bias_begin.push_back(int32_t(orders.bias_ids.size()));
    }
    orders.bias_values.assign(orders.bias_ids.size(), -std::numeric_limits<float>::infinity());
  }
  return ready;
}

void Scheduler::apply_draw(const PlannedOutput& output, const OutputResult& result) {
  Sequence& sequence = *output.sequence;
  --sequence.draws_in_flight;
  if (sequence.state == SequenceState::ended && fault_ != PlantedFault::result_after_end) return;
  const RequestId id = sequence.request_id;
  if (result.non_finite) {
    blocks_.forget(sequence);
    return fail(id, "the model's logits are not finite at position " + std::to_string(output.position) +
                        ": the weights or the prompt drive it out of the number format's range");
  }
  if (result.token.id < 0) {
    return fail(id, "no token could be drawn at position " + std::to_string(output.position) +
                        ": the stop ids, masks and cuts leave none");
  }
  CHECK_EQ(output.position, int32_t(sequence.tokens.size())) << "draws of a sequence arrive in order";
  sequence.tokens.push_back(result.token.id);
  ++stats_.generated_tokens;
  const FinishReason reason = sequence.finish_reason();
  emit_token(sequence, result, reason);
  if (sequence.state == SequenceState::ended) return;
  if (reason == FinishReason::none) {
    if (sequence.state == SequenceState::running && options_.enable_prefix_caching) blocks_.enroll(sequence);
    return;
  }
  end(output.sequence);
  forget_if_done(id);
}

void Scheduler::emit_token(const Sequence& sequence, const OutputResult& result, FinishReason reason) {
  TokenEvent event;
  event.request = sequence.request_id;
  event.choice = sequence.choice();
  event.index = sequence.num_drawn() - 1;
  event.token = {result.token.id, result.token.logprob};
  event.rank = result.rank;
  if (!result.top.empty()) event.top = top_scores(result);
  event.finish = reason;
  event.stop_id = reason == FinishReason::stop ? event.token.id : -1;
  if (event.index == sequence.emitted_before) event.cached_tokens = sequence.cached_tokens;
  events_.emplace_back(std::move(event));
}

void Scheduler::apply_score(const PlannedOutput& output, const OutputResult& result, PromptLogprobsEvent& scores) {
  const Sequence& sequence = *output.sequence;
  if (sequence.state == SequenceState::ended) return;
  const RequestId id = sequence.request->id;
  if (result.non_finite) {
    flush_scores(scores);
    blocks_.forget(sequence);
    return fail(id, "the model's logits are not finite at prompt position " + std::to_string(output.position));
  }
  if (scores.request != id || scores.first_position + int32_t(scores.tokens.size()) != output.position) {
    flush_scores(scores);
    scores.request = id;
    scores.first_position = output.position;
  }
  scores.tokens.push_back({result.token.id, result.token.logprob});
  scores.top.push_back(top_scores(result));
  if (!sequence.only_scores() || output.position + 1 < sequence.prompt_length()) return;
  flush_scores(scores);
  emit_end(sequence, FinishReason::length);
  end(output.sequence);
  forget_if_done(id);
}

void Scheduler::flush_scores(PromptLogprobsEvent& scores) {
  if (scores.tokens.empty()) return;
  events_.emplace_back(std::move(scores));
  scores = {};
}

std::vector<EngineEvent> Scheduler::take_events() { return std::exchange(events_, {}); }

EngineStats Scheduler::stats() const {
  EngineStats stats = stats_;
  stats.running = int32_t(running_.size());
  stats.waiting = int32_t(waiting_.size());
  stats.padded_tokens = batcher_.padded_tokens();
  for (const BlockManager& group : blocks_.groups()) {
    stats.blocks_total += group.total();
    stats.blocks_free += group.num_free();
    stats.blocks_cached += group.num_cached();
  }
  return stats;
}

void Scheduler::verify() const {
  std::vector<SequencePtr> holders;
  for (const auto& [order, sequence] : running_) {
    CHECK(sequence->state == SequenceState::running);
    CHECK_LE(sequence->submitted_length(), sequence->max_length);
    CHECK(slot_owners_.at(sequence->slot) == sequence) << "slot" << sequence->slot << "has another owner";
    holders.push_back(sequence);
  }
  for (const SequencePtr& sequence : batcher_.retained()) {
    CHECK(sequence->state == SequenceState::ended);
    holders.push_back(sequence);
  }
  CHECK_EQ(slot_owners_.size(), holders.size());
  CHECK_LE(in_flight(), cluster_.max_in_flight());
  for (const auto& [id, accepted] : requests_) {
    CHECK_GT(accepted.unfinished, 0) << "request" << id << "is done and still kept";
    const auto is_live = [](const SequencePtr& sequence) { return sequence->state != SequenceState::ended; };
    CHECK_EQ(std::ranges::count_if(accepted.choices, is_live), accepted.unfinished);
  }
  blocks_.verify(holders);
}

}  // namespace trireme
