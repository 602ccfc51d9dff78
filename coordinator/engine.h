#pragma once
// The loop of rank 0: accept, schedule, announce, submit, take the result of an earlier step, emit. One thread.
// Bounds: the port's queue, SchedulerOptions::max_waiting, and cluster.max_in_flight() plans. Executor::wait ends
// because a failed rank ends the process; a scheduler with work that can never run fails a CHECK instead of waiting.
// A batch that waits for more requests is waited for in the port's receive.

#include <deque>
#include <optional>

#include "base/clock.h"
#include "coordinator/scheduler.h"

namespace trireme {

class Engine final {
 public:
  Engine(EnginePort& port, Executor& executor, const Clock& clock, const SchedulerOptions& options,
         PlantedFault fault = PlantedFault::none);

  void run();   // until a ShutdownCommand has been obeyed and the shutdown plan is submitted
  bool step();  // one round of the loop; false once that is so

  const Scheduler& scheduler() const { return scheduler_; }

 private:
  void accept();
  std::chrono::microseconds time_to_wait() const;
  void accept_command(SubmitCommand& command);
  void accept_command(const CancelCommand& command);
  void accept_command(const ShutdownCommand& command);
  std::optional<StepPlan> next_plan();
  bool submit_next_plan();
  void retire_oldest();
  void pass_on_sampling();
  void emit();
  EngineStats stats() const;
  void finish();

  EnginePort& port_;
  Executor& executor_;
  const Clock& clock_;
  Scheduler scheduler_;
  std::deque<StepId> in_flight_;
  TimePoint next_stats_;
  bool stopping_ = false, finished_ = false;
};

}  // namespace trireme
