#include <fmt/format.h>

#include <algorithm>

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
    const int64_t prompt_tokens = int64_t(finished_) * command_.input_len, output_tokens = generated_tokens();
    const double total = double(prompt_tokens + output_tokens);
    BenchReport report;
    report.text = fmt::format("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n",
                              finished_ / elapsed, total / elapsed, double(output_tokens) / elapsed);
    report.text +=
        fmt::format("Total num prompt tokens:  {}\nTotal num output tokens:  {}\n", prompt_tokens, output_tokens);
    report.figures["elapsed_time"] = elapsed;
    report.figures["num_requests"] = finished_;
    report.figures["total_num_tokens"] = int64_t(total);
    report.figures["requests_per_second"] = finished_ / elapsed;
    report.figures["tokens_per_second"] = total / elapsed;
    report.figures["output_tokens_per_second"] = double(output_tokens) / elapsed;
    report_floor(report, elapsed);
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

  // Every step reads the weights once; prefill computes more than it reads, so this floor is for decode alone.
  void report_floor(BenchReport& report, double elapsed) const {
    const double per_step = double(std::max(1, facts().num_slots));
    const double steps = stats().steps > 0 ? double(stats().steps) : double(generated_tokens()) / per_step;
    const double kv = decode_kv_tokens(double(finished_) * command_.n, command_.input_len, command_.output_len);
    const double floor = floor_seconds(facts(), steps, kv, true);
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
