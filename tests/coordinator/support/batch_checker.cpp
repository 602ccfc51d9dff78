#include "tests/coordinator/support/batch_checker.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::testing {

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
  if (const auto found = open_.find(token->request); --found->second.open_choices == 0) open_.erase(found);
}

// What ended in this round ended before the plan (a cancel) or after it (a result): a plan is right when it is right
// with either.
void BatchChecker::check_round(std::span<const RequestId> planned, std::span<const EngineEvent> events, TimePoint now) {
  if (options_.policy == BatchingPolicy::continuous) return;
  std::vector<RequestId> newcomers;
  for (RequestId id : planned) {
    if (open_.contains(id) && !open_.at(id).started) newcomers.push_back(id);
  }
  const bool joins = newcomers.empty() || (any_started() && joins_batch(newcomers));
  for (const EngineEvent& event : events) note(event);
  if (!joins) {
    CHECK(!any_started()) << "request" << newcomers[0] << "joined a batch that had started, or made it larger than"
                          << size_;
    check_new_batch(newcomers, now);
  }
  for (RequestId id : newcomers) {
    const auto found = open_.find(id);
    if (found == open_.end()) continue;
    found->second.started = true;
    sequences_ += found->second.sequences;
  }
}

bool BatchChecker::joins_batch(std::span<const RequestId> newcomers) const {
  int32_t sequences = sequences_;
  for (RequestId id : newcomers) {
    if (!candidates_.contains(id)) return false;
    sequences += open_.at(id).sequences;
  }
  return sequences <= size_;
}

void BatchChecker::check_new_batch(std::span<const RequestId> newcomers, TimePoint now) {
  candidates_.clear();
  sequences_ = 0;
  int32_t waiting = 0, starting = 0;
  TimePoint oldest = TimePoint::max();
  for (const auto& [id, known] : open_) {
    candidates_.insert(id);
    waiting += known.sequences;
    oldest = std::min(oldest, known.since);
    if (std::ranges::count(newcomers, id) > 0) starting += known.sequences;
  }
  CHECK(newcomers.size() == 1 || starting <= size_) << starting << "sequences in a batch of" << size_;
  const bool due = stopping_ || waiting >= size_ || now - oldest >= options_.wait;
  CHECK(due) << "a batch started with" << waiting << "of" << size_ << "sequences, and the oldest had not waited";
}

}  // namespace trireme::testing
