#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "launcher/bench_floor.h"
#include "launcher/bench_job.h"

namespace trireme {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Many prompts; twice the engine's slots are submitted at a time, so that it never starves.
class ThroughputJob final : public BenchJob {
 public:
  explicit ThroughputJob(const BenchCommand& command) : BenchJob(command) {}

  bool done() const override { return stopped() || finished_ >= command_.num_prompts; }

  BenchReport report() const override {
    const double elapsed = seconds(ended_ - begun_);
    const int64_t output_tokens = generated_tokens();
    const double total = double(prompt_tokens() + output_tokens);
    BenchReport report;
    report.text = fmt::format("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n",
                              finished_ / elapsed, total / elapsed, double(output_tokens) / elapsed);
    report.text +=
        fmt::format("Total num prompt tokens:  {}\nTotal num output tokens:  {}\n", prompt_tokens(), output_tokens);
    report.figures["elapsed_time"] = elapsed;
    report.figures["num_requests"] = finished_;
    report.figures["total_num_tokens"] = int64_t(total);
    report.figures["requests_per_second"] = finished_ / elapsed;
    report.figures["tokens_per_second"] = total / elapsed;
    report.figures["output_tokens_per_second"] = double(output_tokens) / elapsed;
    report_requests(report);
    report_floor(report, elapsed);
    HostTime host;
    host.add({}, stats());
    report_host_time(report, host, "step");
    return report;
  }

 protected:
  void begin(TimePoint now) override {
    begun_ = now;
    submit_more(now);
  }

  void on_request_done(TimePoint now) override {
    ++finished_;
    ended_ = now;
    submit_more(now);
  }

 private:
  void submit_more(TimePoint now) {
    const int window = std::max(2 * facts().num_slots / std::max(command_.n, 1), 1);
    for (; !stopped() && submitted_ < command_.num_prompts && submitted_ - finished_ < window; ++submitted_)
      submit_random(now);
  }

  // A request's latency runs from its submission: with twice the slots submitted, half of it is waiting.
  void report_requests(BenchReport& report) const {
    const double count = double(std::max<size_t>(latencies().size(), 1));
    const double mean = std::accumulate(latencies().begin(), latencies().end(), 0.0) / count;
    const double p99 = percentile(latencies(), 99);
    const double padded = double(stats().padded_tokens);
    const double computed = double(stats().prompt_tokens + stats().generated_tokens);
    const double fraction = padded > 0 ? padded / (padded + computed) : 0;
    report.text += fmt::format("Request latency: mean {:.3f} s, p99 {:.3f} s\n", mean, p99);
    if (padded > 0)
      report.text += fmt::format("Padding: {:.0f} tokens beside {:.0f}, {:.1f} % of all\n", padded, computed,
                                 fraction * 100);
    report.figures["mean_request_latency"] = mean;
    report.figures["p99_request_latency"] = p99;
    report.figures["steps"] = stats().steps;
    report.figures["padded_tokens"] = stats().padded_tokens;
    report.figures["padded_fraction"] = fraction;
  }

  // Every step reads the weights once; prefill computes more than it reads, so this floor is for decode alone.
  void report_floor(BenchReport& report, double elapsed) const {
    const double per_step = double(std::max(1, facts().num_slots));
    const double steps = stats().steps > 0 ? double(stats().steps) : double(generated_tokens()) / per_step;
    const double floor = floor_seconds(facts(), steps, kv_tokens(), true);
    if (floor <= 0) return;
    report.text +=
        fmt::format("Memory floor: {:.2f} s for {:.0f} steps; {}\n", floor, steps, floor_verdict(floor, elapsed));
    report.figures["floor_seconds"] = floor;
    report.figures["floor_fraction"] =
        floor <= elapsed ? json::value(floor / elapsed) : json::value();  // null: not valid
  }

  int submitted_ = 0, finished_ = 0;
  TimePoint begun_, ended_;
};

}  // namespace

std::unique_ptr<BenchJob> make_throughput_job(const BenchCommand& command) {
  return std::make_unique<ThroughputJob>(command);
}

}  // namespace trireme
