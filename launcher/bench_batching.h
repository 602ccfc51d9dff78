#pragma once
// What `trireme bench throughput --batching all` says of the batching policies, from the figures of one run of each.

#include <string>
#include <vector>

#include "coordinator/batching.h"
#include "launcher/bench_job.h"

namespace trireme {

inline constexpr BatchingPolicy kComparedPolicies[] = {BatchingPolicy::continuous, BatchingPolicy::dynamic,
                                                       BatchingPolicy::static_};

struct PolicyRun {
  BatchingPolicy policy = BatchingPolicy::continuous;
  json::object figures;  // of its BenchReport
};

// The engine options of one policy's run: the same load, engine and batch size.
EngineOptions options_for(BatchingPolicy policy, EngineOptions options);

std::string policy_table(const std::vector<PolicyRun>& runs);  // one line per policy
std::string policy_plot(const std::vector<PolicyRun>& runs, const std::string& load);  // SVG
json::object policy_figures(const std::vector<PolicyRun>& runs);  // {policy: figures}
std::string load_text(const BenchCommand& command);  // "64 prompts of 128 ± 50 % tokens, ..."

}  // namespace trireme
