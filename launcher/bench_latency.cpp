#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "launcher/bench_floor.h"
#include "launcher/bench_job.h"

namespace trireme {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

// What was measured of one batch size.
struct BatchTimes {
  int size = 0;
  std::vector<double> latencies, steps;  // seconds, per measured iteration
  HostTime host, decode_host;  // of all their steps, and of those that had all sequences in them and no prefill
};

// For each batch size the same batch again and again; the clock runs from its submission to its last token.
class LatencyJob final : public BenchJob {
 public:
  explicit LatencyJob(const BenchCommand& command) : BenchJob(command), times_(command.batch_sizes.size()) {
    for (size_t i = 0; i < times_.size(); ++i) times_[i].size = command.batch_sizes[i];
  }

  bool done() const override { return stopped() || current_ >= times_.size(); }

  // One size: its figures. Several: a block of text and an object in "batches" for each.
  BenchReport report() const override {
    if (times_.size() == 1) return report_of(times_[0]);
    BenchReport all;
    json::array batches;
    for (const BatchTimes& times : times_) {
      BenchReport one = report_of(times);
      all.text += fmt::format("{}Batch size: {}\n{}", batches.empty() ? "" : "\n", times.size, one.text);
      batches.push_back(std::move(one.figures));
    }
    all.text += "\n";
    all.figures["batches"] = std::move(batches);
    return all;
  }

 protected:
  void begin(TimePoint now) override {
    begun_ = now;
    before_ = stats();
    first_tokens_ = 0;
    decode_reports_.clear();
    left_ = times_[current_].size;
    for (int i = 0; i < times_[current_].size; ++i) submit_random(now);
  }

  void on_first_token(TimePoint now) override {
    if (++first_tokens_ < times_[current_].size * command_.n) return;
    all_begun_ = now;
    tokens_at_begin_ = generated_tokens();
  }

  // While all sequences decode. The engine speaks of the steps it has submitted, so the first report after the last
  // prefill can only be of later ones.
  void on_stats() override {
    if (first_tokens_ >= times_[current_].size * command_.n && left_ == times_[current_].size)
      decode_reports_.push_back(stats());
  }

  void on_request_done(TimePoint now) override {
    if (left_ == times_[current_].size) {
      first_end_ = now;
      tokens_at_end_ = generated_tokens();
    }
    if (--left_ > 0) return;
    if (iteration_++ >= command_.warmup_iterations) note(times_[current_], now);
    if (iteration_ >= command_.warmup_iterations + command_.iterations) {
      iteration_ = 0;
      ++current_;
    }
    if (!done()) begin(now);
  }

 private:
  void note(BatchTimes& times, TimePoint now) const {
    times.latencies.push_back(seconds(now - begun_));
    if (command_.output_len > 1) note_step(times);
    times.host.add(before_, stats());
    if (!decode_reports_.empty()) times.decode_host.add(decode_reports_.front(), decode_reports_.back());
  }

  // Steps of all sequences: from the last one's first token to the first one's last. The other tokens of the step that
  // ends it are still to be counted. None where a sequence had ended before the last began.
  void note_step(BatchTimes& times) const {
    const int64_t sequences = int64_t(times.size) * command_.n, tokens = tokens_at_end_ - tokens_at_begin_;
    if (tokens <= 0) return;
    times.steps.push_back(seconds(first_end_ - all_begun_) / double((tokens + sequences - 1) / sequences));
  }

  BenchReport report_of(const BatchTimes& times) const {
    BenchReport report;
    const double average = mean(times.latencies);
    report.text = fmt::format("Avg latency: {} seconds\n", average);
    json::object percentiles;
    for (int percent : {10, 25, 50, 75, 90, 99}) {
      const double value = percentile(times.latencies, percent);
      report.text += fmt::format("{}% percentile latency: {} seconds\n", percent, value);
      percentiles[std::to_string(percent)] = value;
    }
    report.figures["batch_size"] = times.size;
    report.figures["avg_latency"] = average;
    report.figures["latencies"] = json::value_from(times.latencies);
    report.figures["percentiles"] = percentiles;
    report_decode(report, times);
    report_host_time(report, times.host, "step");
    report_host_time(report, times.decode_host, "decode_step");
    return report;
  }

  // A decode step, from the moment all sequences decode, against the time its bytes need.
  void report_decode(BenchReport& report, const BatchTimes& times) const {
    if (times.steps.empty()) {
      if (command_.output_len > 1 && !stopped())
        report.text +=
            "Decode step: none had all sequences in it, the first ended before the last began; raise --output-len\n";
      return;
    }
    const double step = percentile(times.steps, 50), sequences = double(times.size) * command_.n;
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

  std::vector<BatchTimes> times_;
  size_t current_ = 0;  // of times_
  int iteration_ = 0, left_ = 0, first_tokens_ = 0;
  TimePoint begun_, all_begun_, first_end_;
  int64_t tokens_at_begin_ = 0, tokens_at_end_ = 0;
  EngineStats before_;                       // at the iteration's begin
  std::vector<EngineStats> decode_reports_;  // of this iteration
};

}  // namespace

std::unique_ptr<BenchJob> make_latency_job(const BenchCommand& command) {
  return std::make_unique<LatencyJob>(command);
}

}  // namespace trireme
