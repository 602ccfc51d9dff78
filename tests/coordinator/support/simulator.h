#pragma once
// Plays one seed: the real engine, scheduler and block managers over simulated ranks, checked at every step.

#include <optional>
#include <string>

#include "coordinator/planted_fault.h"
#include "protocol/events.h"

namespace trireme::test {

struct Outcome {
  std::optional<std::string> error;  // what was wrong; nothing when all is well
  int64_t rounds = 0;
  EngineStats stats;  // at the end
};

Outcome simulate(uint64_t seed, PlantedFault fault = PlantedFault::none, bool trace = false);

}  // namespace trireme::test
