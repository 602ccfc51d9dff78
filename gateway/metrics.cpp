#include "gateway/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace trireme {
namespace {

constexpr int64_t kDefaultMaxLen = 131072;

std::vector<double> iteration_bounds() {
  std::vector<double> bounds = {1};
  for (double bound = 8; bound <= 16384; bound *= 2) bounds.push_back(bound);
  return bounds;
}

// Makes series with the common labels and with vLLM's names beside ours where they are wanted.
struct Maker {
  MetricRegistry& registry;
  MetricLabels labels;
  bool vllm;

  std::vector<std::string> names(const std::string& own, const std::vector<std::string>& others) const {
    std::vector<std::string> all = {"trireme_" + own};
    if (vllm)
      for (const std::string& other : others) all.push_back("vllm:" + other);
    return all;
  }
  Counter& counter(const std::string& own, const std::vector<std::string>& others, const char* help,
                   const MetricLabels& more = {}) const {
    return registry.counter(names(own, others), help, joined(more));
  }
  Gauge& gauge(const std::string& own, const std::vector<std::string>& others, const char* help,
               const MetricLabels& more = {}) const {
    return registry.gauge(names(own, others), help, joined(more));
  }
  Histogram& histogram(const std::string& own, const std::vector<std::string>& others, const char* help,
                       const std::vector<double>& bounds) const {
    return registry.histogram(names(own, others), help, labels, bounds);
  }
  MetricLabels joined(const MetricLabels& more) const {
    MetricLabels all = labels;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

double rise(int64_t now, int64_t before) { return double(std::max<int64_t>(now - before, 0)); }

}  // namespace

const std::vector<double>& ttft_bounds() {
  static const std::vector<double> kBounds = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                              1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
  return kBounds;
}

const std::vector<double>& token_bounds() {
  static const std::vector<double> kBounds = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                              .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
  return kBounds;
}

const std::vector<double>& request_bounds() {
  static const std::vector<double> kBounds = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                              30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  return kBounds;
}

std::vector<double> token_count_bounds(int64_t most) {
  std::vector<double> bounds;
  for (int64_t decade = 1;; decade *= 10)
    for (int64_t mantissa : {1, 2, 5}) {
      if (mantissa * decade > most) return bounds;
      bounds.push_back(double(mantissa * decade));
    }
}

std::string stats_line(const StatsSample& before, const StatsSample& after, double seconds, int engine) {
  const double queries = after.prefix_queries - before.prefix_queries;
  const auto rate = [seconds](double tokens) { return seconds > 0 ? tokens / seconds : 0; };
  return fmt::format(
      "Engine {:03d}: Avg prompt throughput: {:.1f} tokens/s, Avg generation throughput: {:.1f} tokens/s, "
      "Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {:.1f}%, Prefix cache hit rate: {:.1f}%",
      engine, rate(after.prompt_tokens - before.prompt_tokens),
      rate(after.generation_tokens - before.generation_tokens), after.running, after.waiting, after.kv_usage * 100,
      queries > 0 ? (after.prefix_hits - before.prefix_hits) / queries * 100 : 0);
}

bool is_idle(const StatsSample& before, const StatsSample& after) {
  return after.running == 0 && after.waiting == 0 && after.prompt_tokens == before.prompt_tokens &&
         after.generation_tokens == before.generation_tokens;
}

#define MAKE (Maker{registry_, labels_, options_.vllm_names})

ServeMetrics::ServeMetrics(const MetricsOptions& options)
    : options_(options),
      labels_{{"model_name", options.model_name}, {"engine", options.engine}},
      running_(MAKE.gauge("requests_running", {"num_requests_running"}, "Sequences that the engine works on.")),
      waiting_(MAKE.gauge("requests_waiting", {"num_requests_waiting"}, "Sequences that wait for the engine.")),
      waiting_capacity_(MAKE.gauge("requests_waiting_by_reason", {"num_requests_waiting_by_reason"},
                                   "Waiting sequences by what they wait for.", {{"reason", "capacity"}})),
      kv_usage_(MAKE.gauge("kv_cache_usage_ratio", {"kv_cache_usage_perc", "gpu_cache_usage_perc"},
                           "Share of the KV blocks in use, 0 to 1; what only the prefix cache holds is free.")),
      ready_(MAKE.gauge("ready", {}, "1 while requests can be served.")),
      blocks_total_(MAKE.gauge("kv_blocks", {}, "KV blocks by state.", {{"state", "total"}})),
      blocks_free_(MAKE.gauge("kv_blocks", {}, "KV blocks by state.", {{"state", "free"}})),
      blocks_cached_(MAKE.gauge("kv_blocks", {}, "KV blocks by state.", {{"state", "cached"}})),
      admitted_(MAKE.counter("requests_admitted_total", {}, "Requests accepted into the queue.")),
      prompt_tokens_(MAKE.counter("prompt_tokens_total", {"prompt_tokens_total"},
                                  "Prompt tokens of requests that have their first token.")),
      prompt_computed_(MAKE.counter("prompt_tokens_by_source_total", {"prompt_tokens_by_source_total"},
                                    "Prompt tokens by where their KV entries came from.",
                                    {{"source", "local_compute"}})),
      prompt_cached_(MAKE.counter("prompt_tokens_by_source_total", {"prompt_tokens_by_source_total"},
                                  "Prompt tokens by where their KV entries came from.",
                                  {{"source", "local_cache_hit"}})),
      prompt_cached_total_(MAKE.counter("prompt_tokens_cached_total", {"prompt_tokens_cached_total"},
                                        "Prompt tokens that the prefix cache spared.")),
      generation_tokens_(
          MAKE.counter("generation_tokens_total", {"generation_tokens_total"}, "Tokens generated, of all choices.")),
      prefix_queries_(MAKE.counter("prefix_cache_queries_total",
                                   {"prefix_cache_queries_total", "gpu_prefix_cache_queries_total"},
                                   "Tokens looked up in the prefix cache.")),
      prefix_hits_(MAKE.counter("prefix_cache_hits_total", {"prefix_cache_hits_total", "gpu_prefix_cache_hits_total"},
                                "Tokens found in the prefix cache.")),
      preemptions_(MAKE.counter("preemptions_total", {"num_preemptions_total"},
                                "Sequences put back into the queue for want of KV blocks.")),
      padded_tokens_(
          MAKE.counter("padded_tokens_total", {}, "Tokens that static batches would compute beside the real ones.")),
      steps_(MAKE.counter("steps_total", {}, "Steps of the engine.")),
      device_seconds_(MAKE.counter("device_seconds_total", {}, "Time the engine's steps took on their devices.")),
      ttft_(MAKE.histogram("time_to_first_token_seconds", {"time_to_first_token_seconds"}, "Admission to first token.",
                           ttft_bounds())),
      itl_(MAKE.histogram("inter_token_latency_seconds",
                          {"inter_token_latency_seconds", "time_per_output_token_seconds"},
                          "Time between one token of a choice and the next.", token_bounds())),
      tpot_(MAKE.histogram("request_time_per_output_token_seconds", {"request_time_per_output_token_seconds"},
                           "Mean time per token after the first, by request.", token_bounds())),
      e2e_(MAKE.histogram("e2e_request_latency_seconds", {"e2e_request_latency_seconds"}, "Admission to end.",
                          request_bounds())),
      queue_(MAKE.histogram("request_queue_time_seconds", {"request_queue_time_seconds"},
                            "Admission to the first step that names the request.", request_bounds())),
      prefill_(MAKE.histogram("request_prefill_time_seconds", {"request_prefill_time_seconds"},
                              "First step to first token.", request_bounds())),
      decode_(MAKE.histogram("request_decode_time_seconds", {"request_decode_time_seconds"}, "First to last token.",
                             request_bounds())),
      inference_(MAKE.histogram("request_inference_time_seconds", {"request_inference_time_seconds"},
                                "First step to last token.", request_bounds())),
      request_prompt_(
          MAKE.histogram("request_prompt_tokens", {"request_prompt_tokens"}, "Prompt tokens by request.",
                         token_count_bounds(options.max_model_len > 0 ? options.max_model_len : kDefaultMaxLen))),
      request_generation_(MAKE.histogram("request_generation_tokens", {"request_generation_tokens"},
                                         "Generated tokens by request, all choices.", request_prompt_.bounds())),
      request_longest_(MAKE.histogram("request_max_num_generation_tokens", {"request_max_num_generation_tokens"},
                                      "Generated tokens of a request's longest choice.", request_prompt_.bounds())),
      request_computed_(MAKE.histogram("request_prefill_kv_computed_tokens", {"request_prefill_kv_computed_tokens"},
                                       "Prompt tokens computed, not found in the prefix cache, by request.",
                                       request_prompt_.bounds())),
      params_n_(MAKE.histogram("request_params_n", {"request_params_n"}, "The parameter n.", {1, 2, 5, 10, 20})),
      params_max_tokens_(MAKE.histogram("request_params_max_tokens", {"request_params_max_tokens"},
                                        "The parameter max_tokens.", request_prompt_.bounds())),
      iteration_tokens_(MAKE.histogram("iteration_tokens", {"iteration_tokens_total"},
                                       "Tokens of a step: the mean of the steps between two reports of the engine.",
                                       iteration_bounds())) {
  for (const char* reason : {"stop", "length", "abort", "error"}) finished_counter(reason);  // rate() needs the zeros
  MAKE.gauge("requests_waiting_by_reason", {"num_requests_waiting_by_reason"},
             "Waiting sequences by what they wait for.", {{"reason", "deferred"}});
  if (!options.version.empty())
    registry_.gauge({"trireme_build_info"}, "1, with what this program is.", {{"version", options.version}}).set(1);
}

Counter& ServeMetrics::finished_counter(const std::string& reason) {
  return MAKE.counter("requests_finished_total", {"request_success_total"}, "Requests ended, by how.",
                      {{"finished_reason", reason}});
}

void ServeMetrics::on_engine_ready(const EngineFacts& facts) {
  MAKE.gauge("cache_config_info", {"cache_config_info"}, "1, with the KV cache's shape.",
             {{"block_size", std::to_string(facts.block_size)},
              {"cache_dtype", facts.activation_dtype},
              {"num_gpu_blocks", std::to_string(facts.num_blocks)}})
      .set(1);
  blocks_total_.set(double(facts.num_blocks));
  blocks_free_.set(double(facts.num_blocks));
  set_ready(true);
}

void ServeMetrics::on_admitted(int32_t n, int64_t max_tokens) {
  admitted_.add();
  params_n_.observe(n);
  params_max_tokens_.observe(double(max_tokens));
}

void ServeMetrics::on_rejected(const std::string& reason) {
  MAKE.counter("requests_rejected_total", {"admission_rejections_total"}, "Requests refused before the queue.",
               {{"reason", reason}})
      .add();
}

void ServeMetrics::on_first_token(double seconds, int64_t prompt_tokens, int64_t cached_tokens) {
  ttft_.observe(seconds);
  prompt_tokens_.add(double(prompt_tokens));
  prompt_computed_.add(rise(prompt_tokens, cached_tokens));
  prompt_cached_.add(double(cached_tokens));
  prompt_cached_total_.add(double(cached_tokens));
}

void ServeMetrics::on_token(double seconds) {
  generation_tokens_.add();
  if (seconds >= 0) itl_.observe(seconds);
}

void ServeMetrics::on_finished(const FinishedFigures& figures) {
  finished_counter(finish_reason_name(figures.reason)).add();
  e2e_.observe(figures.e2e_seconds);
  if (figures.generated_tokens == 0) return;  // it never ran to a token: its phases mean nothing
  queue_.observe(figures.queue_seconds);
  prefill_.observe(figures.prefill_seconds);
  decode_.observe(figures.decode_seconds);
  inference_.observe(figures.prefill_seconds + figures.decode_seconds);
  request_prompt_.observe(double(figures.prompt_tokens));
  request_generation_.observe(double(figures.generated_tokens));
  request_longest_.observe(double(figures.longest_choice));
  request_computed_.observe(rise(figures.prompt_tokens, figures.cached_tokens));
  if (figures.longest_choice > 1) tpot_.observe(figures.decode_seconds / double(figures.longest_choice - 1));
}

void ServeMetrics::on_engine_stats(const EngineStats& stats) {
  const std::lock_guard lock(stats_mutex_);
  running_.set(stats.running);
  waiting_.set(stats.waiting);
  waiting_capacity_.set(stats.waiting);
  blocks_total_.set(double(stats.blocks_total));
  blocks_free_.set(double(stats.blocks_free));
  blocks_cached_.set(double(stats.blocks_cached));
  const int64_t used = stats.blocks_total - stats.blocks_free - stats.blocks_cached;
  kv_usage_.set(stats.blocks_total > 0 ? double(used) / double(stats.blocks_total) : 0);
  const EngineStats before = std::exchange(last_stats_, stats);
  prefix_queries_.add(rise(stats.prefix_queries, before.prefix_queries));
  prefix_hits_.add(rise(stats.prefix_hits, before.prefix_hits));
  preemptions_.add(rise(stats.preemptions, before.preemptions));
  padded_tokens_.add(rise(stats.padded_tokens, before.padded_tokens));
  steps_.add(rise(stats.steps, before.steps));
  device_seconds_.add(std::max(stats.device_seconds - before.device_seconds, 0.0));
  count_iterations(stats, before);
}

void ServeMetrics::count_iterations(const EngineStats& stats, const EngineStats& before) {
  const double steps = rise(stats.steps, before.steps);
  if (steps <= 0) return;
  const double tokens =
      rise(stats.prompt_tokens, before.prompt_tokens) + rise(stats.generated_tokens, before.generated_tokens);
  iteration_tokens_.observe(tokens / steps, uint64_t(steps));
}

void ServeMetrics::on_restart(const std::string& cause) {
  MAKE.counter("engine_restarts_total", {}, "Engines started again, by why.", {{"cause", cause}}).add();
  const std::lock_guard lock(stats_mutex_);
  last_stats_ = EngineStats();
  running_.set(0);
  kv_usage_.set(0);
  set_ready(false);
}

void ServeMetrics::on_rank_beat(int rank, double step_seconds) {
  MAKE.gauge("rank_step_seconds", {}, "Time of the rank's latest step.", {{"rank", std::to_string(rank)}})
      .set(step_seconds);
}

void ServeMetrics::on_http_response(int status, uint64_t times) {
  MAKE.counter("http_responses_total", {}, "HTTP answers by status.", {{"code", std::to_string(status)}})
      .add(double(times));
}

void ServeMetrics::set_ready(bool ready) { ready_.set(ready ? 1 : 0); }

#undef MAKE

StatsSample ServeMetrics::sample() const {
  return {.prompt_tokens = prompt_tokens_.value(),
          .generation_tokens = generation_tokens_.value(),
          .prefix_queries = prefix_queries_.value(),
          .prefix_hits = prefix_hits_.value(),
          .running = int(running_.value()),
          .waiting = int(waiting_.value()),
          .kv_usage = kv_usage_.value()};
}

}  // namespace trireme
