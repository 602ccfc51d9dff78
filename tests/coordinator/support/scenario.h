#pragma once
// What one seed of the simulator plays: a cluster, options, and commands at given rounds of the engine's loop.

#include <vector>

#include "coordinator/scheduler.h"

namespace trireme::test {

struct TimedCommand {
  int round = 0;
  EngineCommand command;
};

struct Scenario {
  ClusterInfo cluster;
  SchedulerOptions options;
  int non_finite_period = 0;
  std::vector<TimedCommand> commands;  // by round; the last is the shutdown
};

Scenario make_scenario(uint64_t seed);
std::string describe(const Scenario& scenario);

}  // namespace trireme::test
