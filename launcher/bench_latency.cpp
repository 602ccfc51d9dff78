#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "launcher/bench_floor.h"
#include "launcher/bench_job.h"

namespace trireme {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// The same batch again and again; the clock runs from its submission to its last token.
class LatencyJob final : public BenchJob {
 public:
  explicit LatencyJob(const BenchCommand& command) : BenchJob(command) {}

  bool done() const override { return stopped() || iteration_ >= command_.warmup_iterations + command_.iterations; }

  BenchReport report() const override {
    BenchReport report;
    const double average = mean(latencies_);
    report.text = fmt::format("Avg latency: {} seconds\n", average);
    json::object percentiles;
    for (int percent : {10, 25, 50, 75, 90, 99}) {
      const double value = percentile(latencies_, percent);
      report.text += fmt::format("{}% percentile latency: {} seconds\n", percent, value);
      percentiles[std::to_string(percent)] = value;
    }
    report.figures["avg_latency"] = average;
    report.figures["latencies"] = json::value_from(latencies_);
    report.figures["percentiles"] = percentiles;
    report_decode(report);
    return report;
  }

 protected:
  void begin(TimePoint now) override {
    begun_ = now;
    first_tokens_ = 0;
    left_ = command_.batch_size;
    for (int i = 0; i < command_.batch_size; ++i) submit_random(now);
  }

  void on_first_token(TimePoint now) override {
    if (++first_tokens_ == command_.batch_size * command_.n) all_begun_ = now;
  }

  void on_request_done(TimePoint now) override {
    if (--left_ > 0) return;
    if (iteration_++ >= command_.warmup_iterations) {
      latencies_.push_back(seconds(now - begun_));
      if (command_.output_len > 1) steps_.push_back(seconds(now - all_begun_) / (command_.output_len - 1));
    }
    if (!done()) begin(now);
  }

 private:
  static double mean(const std::vector<double>& values) {
    return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
  }

  // A decode step, from the moment all sequences decode, against the time its bytes need.
  void report_decode(BenchReport& report) const {
    if (steps_.empty()) return;
    const double step = percentile(steps_, 50), sequences = double(command_.batch_size) * command_.n;
    const double steps = command_.output_len - 1;
    const double floor =
        floor_seconds(facts(), steps, decode_kv_tokens(sequences, command_.input_len, command_.output_len), false) /
        steps;
    report.text += fmt::format("Decode step: {:.3f} ms ({:.1f} tok/s)\n", step * 1e3, sequences / step);
    report.figures["decode_step_ms"] = step * 1e3;
    report.figures["decode_tokens_per_second"] = sequences / step;
    if (floor <= 0) return;
    report.text +=
        fmt::format("Memory floor of a decode step: {:.3f} ms; {}\n", floor * 1e3, floor_verdict(floor, step));
    report.figures["floor_step_ms"] = floor * 1e3;
    report.figures["floor_fraction"] = floor <= step ? json::value(floor / step) : json::value();  // null: not valid
  }

  int iteration_ = 0, left_ = 0, first_tokens_ = 0;
  TimePoint begun_, all_begun_;
  std::vector<double> latencies_, steps_;  // seconds, per measured iteration
};

}  // namespace

std::unique_ptr<BenchJob> make_latency_job(const BenchCommand& command) {
  return std::make_unique<LatencyJob>(command);
}

}  // namespace trireme
