#include "launcher/bench_batching.h"

#include <fmt/format.h>

#include <filesystem>

#include "launcher/svg_plot.h"

namespace trireme {
namespace {

constexpr struct {
  const char* key;    // of the figures
  const char* title;  // of the column and the panel
  double scale;
  const char* format;
  bool is_plotted;
} kColumns[] = {{"requests_per_second", "requests/s", 1, "{:.2f}", true},
                {"output_tokens_per_second", "output tok/s", 1, "{:.1f}", true},
                {"steps", "steps", 1, "{:.0f}", false},
                {"padded_fraction", "padded share", 100, "{:.1f} %", true},
                {"mean_request_latency", "mean latency", 1, "{:.3f} s", true},
                {"p99_request_latency", "p99 latency", 1, "{:.3f} s", true}};

double figure(const PolicyRun& run, const char* key) { return run.figures.at(key).to_number<double>(); }

std::string formatted(double value, const auto& column) {
  return fmt::format(fmt::runtime(column.format), value * column.scale);
}

std::string length_text(int length, double ratio) {
  return ratio > 0 ? fmt::format("{} ± {:.0f} %", length, ratio * 100) : std::to_string(length);
}

}  // namespace

EngineOptions options_for(BatchingPolicy policy, EngineOptions options) {
  options.batching = policy;
  if (policy == BatchingPolicy::continuous) options.batch_size = 0;  // it has no batches
  return options;
}

std::string policy_table(const std::vector<PolicyRun>& runs) {
  std::string table = fmt::format("{:<12}", "Batching");
  for (const auto& column : kColumns) table += fmt::format("{:>14}", column.title);
  table += "\n";
  for (const PolicyRun& run : runs) {
    table += fmt::format("{:<12}", batching_policy_name(run.policy));
    for (const auto& column : kColumns) table += fmt::format("{:>14}", formatted(figure(run, column.key), column));
    table += "\n";
  }
  return table;
}

std::string policy_plot(const std::vector<PolicyRun>& runs, const std::string& load) {
  std::vector<BarPanel> panels;
  for (const auto& column : kColumns) {
    if (!column.is_plotted) continue;
    BarPanel& panel = panels.emplace_back();
    panel.title = column.title;
    for (const PolicyRun& run : runs) {
      const double value = figure(run, column.key);
      panel.bars.push_back({batching_policy_name(run.policy), value, formatted(value, column)});
    }
  }
  return bar_plot_svg("Batching policies under one load", load, panels);
}

json::object policy_figures(const std::vector<PolicyRun>& runs) {
  json::object all;
  for (const PolicyRun& run : runs) all[batching_policy_name(run.policy)] = run.figures;
  return all;
}

std::string load_text(const BenchCommand& command) {
  const EngineOptions& engine = command.run.engine;
  const int batch = engine.batch_size > 0 ? engine.batch_size : engine.effective_max_num_seqs();
  return fmt::format(
      "{}: {} prompts of {} tokens, {} new tokens each; at most {} sequences, batches of {}, wait {} ms, seed {}",
      std::filesystem::path(engine.model).filename().string(), command.num_prompts,
      length_text(command.input_len, command.range_ratio), length_text(command.output_len, command.range_ratio),
      engine.effective_max_num_seqs(), batch, engine.batch_wait_ms, engine.seed);
}

}  // namespace trireme
