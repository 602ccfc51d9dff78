#pragma once
// The real scheduler over stages whose times are a formula: when each stage would run each plan, and what of their time
// they would wait. A stage runs a plan after the one before it, after the previous stage's output has arrived and, in
// the first stage, after the ids that the plan's rows read. The engine is modelled as it is: it submits until pp + 1
// plans are in flight, then takes the oldest result.

#include <algorithm>
#include <string>
#include <vector>

#include "coordinator/scheduler.h"

namespace trireme::test {

struct StageTimes {                // microseconds
  std::vector<double> fixed;       // by stage: reading its weights
  std::vector<double> per_token;   // by stage
  double own_tokens = 0;           // of a plan, besides those it has: launches, the last tiles of matrix products
  double hop = 0;                  // of activations, from a stage's end to the next one's start
  double feedback = 0;             // of drawn ids, from the last stage's end to the first one's start
  double host = 0;                 // from a result to the plan that follows it
  double of(size_t stage, const StepPlan& plan) const {  // whichever bounds it: memory or arithmetic
    return std::max(fixed[stage], per_token[stage] * (double(plan.num_tokens()) + own_tokens));
  }
};

struct PlanTrace {
  StepPlan plan;
  std::vector<double> start, end;  // by stage
};

struct PipelineTrace {
  std::vector<PlanTrace> plans;
  std::vector<double> busy;  // by stage
  double elapsed = 0;
  // Of all stages' time from the first start to the last end, what they waited.
  double bubble() const;
  // The same between two plans, of the steady state.
  double bubble_between(size_t first, size_t last) const;
};

// Runs all that the scheduler has; every draw gives id 99.
PipelineTrace run_timed(Scheduler& scheduler, const ClusterInfo& cluster, const StageTimes& times);

// One line per stage, a column per `unit` microseconds: the plan's step (last digit), '.' where it waits.
std::string draw(const PipelineTrace& trace, double unit);

}  // namespace trireme::test
