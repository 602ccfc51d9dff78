#pragma once
// Rank 0's executor: the engine thread hands plans over, the worker's thread passes them on to the other ranks
// and runs this rank's part. A step's result leaves only with a clean word from every rank.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "parallel/control_channel.h"
#include "runtime/health_poll.h"
#include "runtime/step_profiler.h"
#include "runtime/worker.h"

namespace trireme {

class DistributedExecutor final : public Executor {
 public:
  // `profiler`: null, or it is told of every step.
  DistributedExecutor(Worker& worker, ControlChannel& control, const ClusterInfo& info,
                      StepProfiler* profiler = nullptr);

  // The engine's thread.
  const ClusterInfo& info() const override { return info_; }
  void submit(StepPlan plan) override;
  void submit_sampling(SamplingOrders orders) override;
  bool ready(StepId step) override;
  StepResult wait(StepId step) override;

  // The worker's thread. Returns when the shutdown plan has been carried out on every rank.
  void run();
  // Passes on what the engine has submitted meanwhile; for waits inside a step (Cluster::set_idle_hook).
  void pump();

 private:
  struct InFlight {
    StepId step = 0;
    std::chrono::steady_clock::time_point started;
    double cpu_ms = 0;  // this thread's, to run it
  };

  void execute(const StepPlan& plan);
  bool collect();  // acks and finished steps; true when something moved
  SamplingOrders wait_for_sampling(StepId step);
  void wait_for_submission();

  Worker& worker_;
  ControlChannel& control_;
  ClusterInfo info_;
  StepProfiler* profiler_;

  // Worker's thread only.
  std::deque<StepPlan> plans_;                 // passed on, not yet run here
  std::map<StepId, SamplingOrders> sampling_;  // passed on, not yet used here
  std::deque<InFlight> in_flight_;             // run here, not yet clean everywhere
  std::map<StepId, int> acks_;
  HealthPoll health_;
  double sampling_wait_cpu_ = 0;  // seconds that polling for sampling orders cost the step that runs

  // Shared.
  std::mutex mutex_;
  std::condition_variable submitted_, finished_;
  std::deque<StepPlan> new_plans_;
  std::deque<SamplingOrders> new_sampling_;
  std::map<StepId, StepResult> results_;
  StepId last_submitted_ = -1;
};

// The other ranks: plans from the control channel until the shutdown plan.
void run_worker_loop(Worker& worker, ControlChannel& control, int rank, StepProfiler* profiler = nullptr);

}  // namespace trireme
