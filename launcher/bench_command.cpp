#include "launcher/bench_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "launcher/bench_batching.h"
#include "launcher/bench_job.h"
#include "launcher/embedded.h"
#include "launcher/front_loop.h"
#include "launcher/profile_trace.h"
#include "launcher/run_engine.h"

namespace trireme {
namespace {

using Deliver = std::function<void(const BenchReport&)>;

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  if (!file.flush()) throw Error("cannot write " + path);
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// The job, and the delivery of its report when the engine has stopped cleanly.
class BenchRun final : public FrontJob {
 public:
  BenchRun(const BenchCommand& command, Deliver deliver)
      : deliver_(std::move(deliver)),
        profile_(command.run),
        job_(command.throughput ? make_throughput_job(command) : make_latency_job(command)) {}

  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) override {
    facts_ = facts;
    job_->start(facts, port, now);
  }
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) override { job_->on_events(events, now); }
  void cancel() override { job_->cancel(); }
  bool done() const override { return job_->done(); }
  int exit_code() const override { return job_->exit_code(); }

  void finish(TimePoint) override {
    if (!job_->failure().empty()) {
      std::fprintf(stderr, "trireme: %s\n", job_->failure().c_str());
      return;
    }
    BenchReport report = job_->report();
    describe_profile(report);
    describe_engine(report);
    deliver_(report);
  }

 private:
  void describe_profile(BenchReport& report) {
    const std::vector<ProfilePart> parts = profile_.finish();
    if (parts.empty()) return;
    const auto floor = report.figures.find("floor_step_ms");
    const bool one_batch = floor != report.figures.end();  // else the recorded one is not known to be any of them
    report.text += breakdown_text(parts, one_batch ? floor->value().to_number<double>() : 0);
    report.figures["profile"] = breakdown_figures(parts);
    report.figures["device_idle_fraction"] = step_breakdown(parts.front()).idle_fraction();
  }

  void describe_engine(BenchReport& report) const {
    const auto largest = [](const std::vector<int64_t>& values) {
      return values.empty() ? 0.0 : double(*std::max_element(values.begin(), values.end())) / 1e9;
    };
    const double bandwidth = facts_.memory_bandwidth.empty() ? 0 : facts_.memory_bandwidth[0] / 1e9;
    report.text += fmt::format(
        "Engine: tp {}, pp {}, {}, weights {}, activations {}; per rank {:.2f} GB used, {:.2f} GB weights "
        "read per step, memory {:.1f} GB/s measured\n",
        facts_.tp, facts_.pp, facts_.device, facts_.dtype, facts_.activation_dtype, largest(facts_.memory_bytes),
        largest(facts_.weight_bytes), bandwidth);
    json::object& figures = report.figures;
    figures["tensor_parallel_size"] = facts_.tp;
    figures["pipeline_parallel_size"] = facts_.pp;
    figures["device"] = facts_.device;
    figures["dtype"] = facts_.dtype;
    figures["memory_bytes"] = json::value_from(facts_.memory_bytes);
    figures["weight_bytes"] = json::value_from(facts_.weight_bytes);
    figures["memory_bandwidth"] = json::value_from(facts_.memory_bandwidth);
  }

  Deliver deliver_;
  ProfileTrace profile_;
  EngineFacts facts_;
  std::unique_ptr<BenchJob> job_;
};

// One engine after the other, the same load for each.
int compare_policies(const BenchCommand& command) {
  if (inside_outer_run())
    throw ConfigError(
        "--batching all starts an engine for each policy, and an outer mpirun holds one: start it without mpirun, or "
        "measure one policy at a time");
  std::vector<PolicyRun> runs;
  for (const BatchingPolicy policy : kComparedPolicies) {
    BenchCommand one = command;
    one.run.engine = options_for(policy, command.run.engine);
    const int code = run_with_engine(one.run, [&] {
      return std::make_unique<BenchRun>(
          one, [&](const BenchReport& report) { runs.push_back({policy, report.figures}); });
    });
    if (code != kExitOk) return code;
  }
  print(load_text(command) + "\n" + policy_table(runs));
  if (!command.plot.empty()) write_file(command.plot, policy_plot(runs, load_text(command)));
  if (!command.output_json.empty()) write_file(command.output_json, json::serialize(policy_figures(runs)) + "\n");
  return kExitOk;
}

}  // namespace

int run_bench(const BenchCommand& command) {
  if (command.all_policies) return compare_policies(command);
  return run_with_engine(command.run, [&command] {
    return std::make_unique<BenchRun>(command, [&command](const BenchReport& report) {
      print(report.text);
      if (!command.output_json.empty()) write_file(command.output_json, json::serialize(report.figures) + "\n");
    });
  });
}

}  // namespace trireme
