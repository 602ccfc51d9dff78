// Where the batching policy meets the life of sequences: what a static batch keeps until its end.

#include "base/check.h"
#include "coordinator/scheduler.h"

namespace trireme {

void Scheduler::set_now(TimePoint now) {
  CHECK(now >= now_) << "time goes backwards";
  now_ = now;
}

// True when the ended sequence keeps its slot and blocks. It is no longer running: nothing schedules or preempts it.
bool Scheduler::retain(const SequencePtr& sequence) {
  if (!batcher_.retain(sequence)) return false;
  running_.erase(sequence->order);
  return true;
}

bool Scheduler::release_retained() {
  const std::vector<SequencePtr> kept = batcher_.take_retained();
  for (const SequencePtr& sequence : kept) leave_slot(*sequence);
  return !kept.empty();
}

void Scheduler::leave_batch(RequestId id) {
  if (batcher_.request_ended(id)) release_retained();
}

}  // namespace trireme
