#pragma once
// When waiting requests may start. Pure: time comes in with every call. One thread (the engine's).
//
//   continuous  whenever there is room: nothing is collected.
//   dynamic     requests are collected until they are `size` sequences, or the oldest of them has waited `wait`. The
//               batch starts together once the one before has ended; its sequences leave as they end.
//   static_     batches of `size` sequences in the queue's order; a smaller one only when the oldest has waited `wait`.
//               A batch starts and ends together: a sequence that has ended keeps its slot and blocks until the last
//               has, and what a rectangle around the batch would compute beside it is counted as padding. When one of
//               the batch lacks slots or blocks that ended ones keep, these go back early: else it would never end.
//
// The queue's order is that of continuous batching: priority, then arrival. A request counts its choices, a beam search
// its beams; one larger than `size` is a batch of its own. A batch is closed once it has started, but a preempted
// member comes back to it. Beams come and go inside their request, so a beam search's slots are never kept.

#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "coordinator/planted_fault.h"
#include "coordinator/sequence.h"

namespace trireme {

enum class BatchingPolicy : uint8_t { continuous, dynamic, static_ };
const char* batching_policy_name(BatchingPolicy policy);  // "static"
std::optional<BatchingPolicy> parse_batching_policy(const std::string& name);

struct BatchingOptions {
  BatchingPolicy policy = BatchingPolicy::continuous;
  int32_t size = 0;  // sequences of a batch; 0, or more than there are slots: as many as slots
  std::chrono::milliseconds wait{50};
};

class Batcher final {
 public:
  using Waiting = std::map<SequenceOrder, SequencePtr>;

  Batcher(const BatchingOptions& options, int32_t num_slots, PlantedFault fault = PlantedFault::none);

  void arrived(const Request& request, int32_t unfinished_choices, TimePoint now);
  void drain() { draining_ = true; }  // nothing more will come: smaller batches start at once

  // Starts the next batch when it is due and none runs.
  void form(const Waiting& waiting, TimePoint now);
  SequencePtr next(const Waiting& waiting) const;  // the first that may start; null: none
  // After form(): when the collected requests start although more would fit; nothing when they wait for no time.
  std::optional<TimePoint> waits_until() const { return waits_until_; }

  void sequence_ended(const Sequence& sequence);
  bool request_ended(RequestId id);  // with its last sequence; true: the batch has ended with it
  bool retain(const SequencePtr& sequence);  // a running sequence has ended: true when it keeps its slot and blocks
  const std::vector<SequencePtr>& retained() const { return retained_; }
  std::vector<SequencePtr> take_retained();

  int64_t padded_tokens() const { return padded_tokens_; }

 private:
  struct Pending {
    TimePoint since;
    int32_t sequences = 0;
  };
  struct Member {
    int32_t sequences = 0, longest = 0;  // drawn by the longest, in this attempt
    int64_t drawn = 0;                   // by all
    bool is_beam_search = false;
  };
  struct Rectangle {  // of the running batch's outputs
    int64_t sequences = 0, longest = 0, drawn = 0;
  };
  void start(const Waiting& waiting, const SequenceOrder& last);

  BatchingOptions options_;
  int32_t size_;
  PlantedFault fault_;
  bool draining_ = false;
  std::map<RequestId, Pending> pending_;  // waiting for a batch
  std::map<RequestId, Member> members_;   // of the running batch, not yet ended
  SequenceOrder last_;                    // no member is behind it
  Rectangle outputs_;
  std::vector<SequencePtr> retained_;
  std::optional<TimePoint> waits_until_;
  int64_t padded_tokens_ = 0;
};

}  // namespace trireme
