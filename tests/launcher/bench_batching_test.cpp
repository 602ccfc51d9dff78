#include "launcher/bench_batching.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

std::vector<PolicyRun> runs() {
  std::vector<PolicyRun> runs;
  for (const BatchingPolicy policy : kComparedPolicies) {
    const double factor = 1 + double(runs.size());
    runs.push_back({policy,
                    {{"requests_per_second", 12 / factor},
                     {"output_tokens_per_second", 600 / factor},
                     {"steps", 40},
                     {"padded_fraction", policy == BatchingPolicy::static_ ? 0.25 : 0.0},
                     {"mean_request_latency", factor},
                     {"p99_request_latency", 2 * factor}}});
  }
  return runs;
}

TEST(BenchBatching, ATableHasALinePerPolicy) {
  const std::string table = policy_table(runs());
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);
  for (const char* text : {"continuous", "dynamic", "static", "12.00", "600.0", "25.0 %", "3.000 s", "6.000 s"})
    EXPECT_NE(table.find(text), std::string::npos) << text << "\n" << table;
}

TEST(BenchBatching, FiguresAndPlotNameThePolicies) {
  EXPECT_EQ(policy_figures(runs()).at("static").at("padded_fraction").as_double(), 0.25);
  const std::string plot = policy_plot(runs(), "the load");
  for (const char* text : {"the load", ">static<", ">25.0 %<", ">p99 latency<"})
    EXPECT_NE(plot.find(text), std::string::npos) << text;
}

TEST(BenchBatching, ContinuousHasNoBatchSize) {
  EngineOptions options;
  options.batch_size = 8;
  EXPECT_EQ(options_for(BatchingPolicy::continuous, options).batch_size, 0);
  EXPECT_EQ(options_for(BatchingPolicy::static_, options).batch_size, 8);
  EXPECT_EQ(options_for(BatchingPolicy::static_, options).batching, BatchingPolicy::static_);
}

}  // namespace
}  // namespace trireme
