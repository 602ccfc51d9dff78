#include "tests/coordinator/support/batch_checker.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::test {

BatchChecker::BatchChecker(const BatchingOptions& options, int32_t num_slots)
    : options_(options), size_(options.size == 0 ? num_slots : std::min(options.size, num_slots)) {}

void BatchChecker::note(const EngineCommand& command, TimePoint received) {
  if (std::holds_alternative<ShutdownCommand>(command)) stopping_ = true;
  const auto* submit = std::get_if<SubmitCommand>(&command);
  if (!submit) return;
  Known& known = open_[submit->request.id];
  known.since = received;
  known.open_choices = submit->request.sampling.n;
  for (const EmittedChoice& emitted : submit->request.emitted) known.open_choices -= emitted.finished;
  known.sequences = std::max(known.open_choices, submit->request.sampling.beam_width);
}

bool BatchChecker::any_started() const {
  return std::ranges::any_of(open_, [](const auto& entry) { return entry.second.started; });
}

void BatchChecker::note(const EngineEvent& event) {
  if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) open_.erase(failed->request);
  const auto* token = std::get_if<TokenEvent>(&event);
  if (!token || token->finish == FinishReason::none) return;
  const auto found = open_.find(token->request);
  Known& known = found->second;
  if (token->token.id < 0 && !known.started) --known.sequences;  // it had drawn its last id before it came
  if (--known.open_choices == 0) open_.erase(found);
}

// When a batch is formed, and what of it is left when a part never ran, cannot be seen from here. So as long as none
// that ran is open and a batch is due, what waits may be its members; who starts later must be one of them.
void BatchChecker::check_round(std::span<const RequestId> planned, std::span<const EngineEvent> events, TimePoint now) {
  if (options_.policy == BatchingPolicy::continuous) return;
  for (const EngineEvent& event : events) note(event);
  if (!any_started() && batch_is_due(now)) {
    sequences_ = 0;
    candidates_.clear();
    for (const auto& [id, known] : open_) candidates_.insert(id);
  }
  for (RequestId id : planned) {
    const auto found = open_.find(id);
    if (found == open_.end() || found->second.started) continue;
    CHECK(candidates_.contains(id)) << "request" << id << "started before its batch was due, or beside another";
    const bool alone = sequences_ == 0;
    sequences_ += found->second.sequences;
    CHECK(alone || sequences_ <= size_) << "request" << id << "makes a batch of" << sequences_ << ", the most is"
                                        << size_;
    found->second.started = true;
  }
}

bool BatchChecker::batch_is_due(TimePoint now) const {
  int32_t waiting = 0;
  TimePoint oldest = TimePoint::max();
  for (const auto& [id, known] : open_) {
    waiting += known.sequences;
    oldest = std::min(oldest, known.since);
  }
  return waiting > 0 && (stopping_ || waiting >= size_ || now - oldest >= options_.wait);
}

}  // namespace trireme::test
