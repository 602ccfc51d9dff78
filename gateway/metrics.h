#pragma once
// What `trireme serve` tells Prometheus: every figure once, under our name (trireme_*) and under the name that vLLM's
// dashboards query (vllm:*), labels model_name and engine. Any thread may call any member.
//
// Tokens and latencies are the front's: of what clients got, so a replay after a restart counts nothing twice.
// Occupancy, preemptions and the prefix cache are the engine's (EngineStats), whose counters begin again at 0 with each
// attempt: on_restart() keeps ours rising.

#include <mutex>
#include <string>
#include <vector>

#include "gateway/metric_registry.h"
#include "protocol/events.h"
#include "protocol/messages.h"

namespace trireme {

struct MetricsOptions {
  std::string model_name = "";  // the served one
  std::string engine = "0";
  std::string version = "";   // trireme_build_info; empty: not told
  int64_t max_model_len = 0;  // bounds the buckets of token counts; 0: 131072
  bool vllm_names = true;     // --metrics-compat vllm
};

// One request (prompt), all its choices. Seconds.
struct FinishedFigures {
  FinishReason reason = FinishReason::none;  // of its first choice; abort: the client left; error: it failed
  int32_t n = 1;
  int64_t max_tokens = 0;                        // as asked for, per choice
  int64_t prompt_tokens = 0, cached_tokens = 0;  // cached: spared by the prefix cache
  int64_t generated_tokens = 0;                  // all choices
  int64_t longest_choice = 0;                    // tokens
  double queue_seconds = 0;                      // admission to the first plan that names it
  double prefill_seconds = 0;                    // from there to the first token
  double decode_seconds = 0;                     // first to last token
  double e2e_seconds = 0;                        // admission to end
};

// Sums as of one moment; two of them make a line of the log.
struct StatsSample {
  double prompt_tokens = 0, generation_tokens = 0, prefix_queries = 0, prefix_hits = 0;
  int running = 0, waiting = 0;
  double kv_usage = 0;  // 0..1
};

// vLLM's periodic line, of the `seconds` between the two samples.
std::string stats_line(const StatsSample& before, const StatsSample& after, double seconds, int engine = 0);
bool is_idle(const StatsSample& before, const StatsSample& after);  // nothing to tell: vLLM prints no line either

class ServeMetrics {
 public:
  explicit ServeMetrics(const MetricsOptions& options);

  void on_engine_ready(const EngineFacts& facts);
  void on_admitted(int32_t n, int64_t max_tokens);
  void on_rejected(const std::string& reason);  // "queue_full", "draining", ...: few and fixed
  // Of a request; `seconds` since its admission.
  void on_first_token(double seconds, int64_t prompt_tokens, int64_t cached_tokens);
  // Every token of every choice; `seconds` since the one before it in its choice, negative for the first.
  void on_token(double seconds);
  void on_finished(const FinishedFigures& figures);
  void on_engine_stats(const EngineStats& stats);
  void on_restart(const std::string& cause);  // fault kinds and the like: few and fixed
  void on_rank_beat(int rank, double step_seconds);
  void on_http_response(int status, uint64_t times = 1);
  void set_ready(bool ready);  // requests could be served now

  std::string exposition() const { return registry_.exposition(); }
  StatsSample sample() const;

 private:
  Counter& finished_counter(const std::string& reason);
  void count_iterations(const EngineStats& stats, const EngineStats& before);

  MetricsOptions options_;
  MetricLabels labels_;  // model_name, engine
  MetricRegistry registry_;

  Gauge &running_, &waiting_, &waiting_capacity_, &kv_usage_, &ready_, &blocks_total_, &blocks_free_, &blocks_cached_;
  Counter &admitted_, &prompt_tokens_, &prompt_computed_, &prompt_cached_, &prompt_cached_total_, &generation_tokens_;
  Counter &prefix_queries_, &prefix_hits_, &preemptions_, &padded_tokens_, &steps_, &device_seconds_;
  Histogram &ttft_, &itl_, &tpot_, &e2e_, &queue_, &prefill_, &decode_, &inference_;
  Histogram &request_prompt_, &request_generation_, &request_longest_, &request_computed_;
  Histogram &params_n_, &params_max_tokens_, &iteration_tokens_;

  std::mutex stats_mutex_;
  EngineStats last_stats_;  // of this attempt
};

// vLLM's bucket bounds.
const std::vector<double>& ttft_bounds();              // seconds
const std::vector<double>& token_bounds();             // seconds between tokens
const std::vector<double>& request_bounds();           // seconds of a whole request or phase
std::vector<double> token_count_bounds(int64_t most);  // 1, 2, 5, 10, ... up to `most`

}  // namespace trireme
