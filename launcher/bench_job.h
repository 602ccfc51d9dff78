#pragma once
// Requests of random ids, as `vllm bench latency` and `throughput` make them, and the figures they end in.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "gateway/front_job.h"
#include "launcher/command_line.h"

namespace trireme {

struct BenchReport {
  std::string text;      // vLLM's lines, then the memory floor
  json::object figures;  // vLLM's keys, then ours
};

class BenchJob : public FrontJob {
 public:
  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) final;
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) final;
  void cancel() final { cancelled_ = true; }
  int exit_code() const final { return failure_.empty() ? 0 : 1; }
  const std::string& failure() const { return failure_; }
  virtual BenchReport report() const = 0;

 protected:
  explicit BenchJob(const BenchCommand& command) : command_(command) {}
  virtual void begin(TimePoint now) = 0;     // the engine is ready
  virtual void on_first_token(TimePoint) {}  // of a choice
  virtual void on_stats() {}                 // stats() is new
  virtual void on_request_done(TimePoint now) = 0;

  void submit_random(TimePoint now);
  int64_t prompt_tokens() const { return prompt_tokens_; }            // submitted
  double kv_tokens() const { return kv_tokens_; }                     // cached tokens their decode steps read
  const std::vector<double>& latencies() const { return latencies_; }  // seconds, of requests, as they ended
  const EngineFacts& facts() const { return facts_; }
  const EngineStats& stats() const { return stats_; }
  bool stopped() const { return cancelled_ || !failure_.empty(); }
  int64_t generated_tokens() const { return generated_tokens_; }
  TimePoint last_token() const { return last_token_; }

  const BenchCommand command_;

 private:
  EngineFacts facts_;
  RequestPort* port_ = nullptr;
  RequestId next_id_ = 1;
  struct OpenRequest {
    int choices = 0;
    TimePoint submitted;
  };
  std::unordered_map<RequestId, OpenRequest> open_;
  EngineStats stats_;
  int64_t generated_tokens_ = 0, prompt_tokens_ = 0;
  double kv_tokens_ = 0;
  std::vector<double> latencies_;
  TimePoint last_token_;
  bool cancelled_ = false;
  std::string failure_;
};

std::unique_ptr<BenchJob> make_latency_job(const BenchCommand& command);
std::unique_ptr<BenchJob> make_throughput_job(const BenchCommand& command);

// What the host computed between reports of the engine's, on rank 0.
struct HostTime {
  double engine_seconds = 0, worker_seconds = 0, steps = 0;
  void add(const EngineStats& from, const EngineStats& to);
};

// Per step, `step` being its kind ("step", "decode_step"): text and keys host_cpu_us_per_STEP, host_engine_us_per_STEP,
// host_worker_us_per_STEP. Nothing where no step was made.
void report_host_time(BenchReport& report, const HostTime& time, const std::string& step);

// Uniform in [floor(length * (1 - ratio)), ceil(length * (1 + ratio))], at least 1.
int random_length(int length, double ratio, uint64_t random);

// Linear interpolation between order statistics, as numpy.percentile; `values` need not be sorted.
double percentile(std::vector<double> values, double percent);

}  // namespace trireme
