#include "launcher/bench_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "launcher/bench_job.h"
#include "launcher/run_engine.h"

namespace trireme {
namespace {

// The job, and its report on standard output when the engine has stopped cleanly.
class BenchRun final : public FrontJob {
 public:
  explicit BenchRun(const BenchCommand& command)
      : command_(command), job_(command.throughput ? make_throughput_job(command) : make_latency_job(command)) {}

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
    describe_engine(report);
    std::fputs(report.text.c_str(), stdout);
    std::fflush(stdout);
    if (command_.output_json.empty()) return;
    std::ofstream file(command_.output_json);
    file << json::serialize(report.figures) << "\n";
    if (!file.flush()) throw Error("cannot write " + command_.output_json);
  }

 private:
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

  BenchCommand command_;
  EngineFacts facts_;
  std::unique_ptr<BenchJob> job_;
};

}  // namespace

int run_bench(const BenchCommand& command) {
  return run_with_engine(command.run, [&command] { return std::make_unique<BenchRun>(command); });
}

}  // namespace trireme
