#include "coordinator/batching.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace trireme {
namespace {

constexpr struct {
  BatchingPolicy policy;
  const char* name;
} kPolicies[] = {{BatchingPolicy::continuous, "continuous"},
                 {BatchingPolicy::dynamic, "dynamic"},
                 {BatchingPolicy::static_, "static"}};

}  // namespace

const char* batching_policy_name(BatchingPolicy policy) { return kPolicies[size_t(policy)].name; }

std::optional<BatchingPolicy> parse_batching_policy(const std::string& name) {
  for (const auto& row : kPolicies)
    if (name == row.name) return row.policy;
  return std::nullopt;
}

Batcher::Batcher(const BatchingOptions& options, int32_t num_slots, PlantedFault fault)
    : options_(options), size_(options.size > 0 ? std::min(options.size, num_slots) : num_slots), fault_(fault) {
  CHECK_GE(options.size, 0);
  CHECK_GE(options.wait.count(), 0);
}

void Batcher::arrived(const Request& request, int32_t unfinished_choices, TimePoint now) {
  if (options_.policy == BatchingPolicy::continuous) return;
  const bool is_beam_search = request.sampling.is_beam_search();
  pending_[request.id] = {now, is_beam_search ? request.sampling.beam_width : unfinished_choices};
}

// A batch takes requests in order and ends before the first that does not fit, so that none is overtaken.
void Batcher::form(const Waiting& waiting, TimePoint now) {
  waits_until_.reset();
  if (options_.policy == BatchingPolicy::continuous) return;
  if (!members_.empty() && fault_ != PlantedFault::batches_overlap) return;
  int32_t sequences = 0;
  bool full = false;
  TimePoint oldest = TimePoint::max();
  std::optional<SequenceOrder> last;
  for (const auto& [order, sequence] : waiting) {
    if (last && last->arrival == order.arrival) continue;  // another choice of the same request
    const auto found = pending_.find(sequence->request->id);
    if (found == pending_.end()) continue;
    full = last && sequences + found->second.sequences > size_;
    if (full) break;
    sequences += found->second.sequences;
    oldest = std::min(oldest, found->second.since);
    last = order;
    full = sequences >= size_;
    if (full) break;
  }
  if (!last) return;
  const TimePoint due = oldest + options_.wait;
  if (full || draining_ || now >= due || fault_ == PlantedFault::batch_started_early) return start(waiting, *last);
  waits_until_ = due;
}

void Batcher::start(const Waiting& waiting, const SequenceOrder& last) {
  last_ = last;
  last_.choice = std::numeric_limits<int32_t>::max();
  int64_t prompts = 0, longest = 0, tokens = 0;
  for (auto at = waiting.begin(); at != waiting.end() && at->first <= last_; ++at) {
    const Request& request = *at->second->request;
    const auto length = int64_t(at->second->tokens.size());
    ++prompts;
    longest = std::max(longest, length);
    tokens += length;
    const auto found = pending_.find(request.id);
    if (found == pending_.end()) continue;
    members_[request.id] = {.sequences = found->second.sequences, .is_beam_search = request.sampling.is_beam_search()};
    pending_.erase(found);
  }
  if (options_.policy == BatchingPolicy::static_) padded_tokens_ += prompts * longest - tokens;
}

SequencePtr Batcher::next(const Waiting& waiting) const {
  if (options_.policy == BatchingPolicy::continuous) return waiting.empty() ? nullptr : waiting.begin()->second;
  if (members_.empty()) return nullptr;
  for (auto at = waiting.begin(); at != waiting.end() && at->first <= last_; ++at) {
    if (members_.contains(at->second->request->id)) return at->second;
  }
  return nullptr;
}

void Batcher::sequence_ended(const Sequence& sequence) {
  const auto found = members_.find(sequence.request->id);
  if (found == members_.end()) return;
  const int32_t drawn = sequence.num_drawn() - sequence.emitted_before;
  found->second.longest = std::max(found->second.longest, drawn);
  found->second.drawn += drawn;
}

bool Batcher::request_ended(RequestId id) {
  pending_.erase(id);
  const auto found = members_.find(id);
  if (found == members_.end()) return false;
  const Member& member = found->second;
  outputs_.sequences += member.sequences;
  outputs_.longest = std::max(outputs_.longest, int64_t(member.longest));
  outputs_.drawn += member.is_beam_search ? int64_t(member.sequences) * member.longest : member.drawn;
  members_.erase(found);
  if (!members_.empty()) return false;
  const Rectangle whole = std::exchange(outputs_, {});
  if (options_.policy == BatchingPolicy::static_) padded_tokens_ += whole.sequences * whole.longest - whole.drawn;
  return true;
}

bool Batcher::retain(const SequencePtr& sequence) {
  if (options_.policy != BatchingPolicy::static_ || sequence->request->sampling.is_beam_search()) return false;
  CHECK(members_.contains(sequence->request->id)) << "request" << sequence->request->id << "runs outside a batch";
  retained_.push_back(sequence);
  return true;
}

std::vector<SequencePtr> Batcher::take_retained() {
  if (fault_ == PlantedFault::retained_forgotten && !retained_.empty()) retained_.pop_back();
  return std::exchange(retained_, {});
}

}  // namespace trireme
