#include "gateway/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/json.h"

namespace trireme {
namespace {

struct Exposition {
  std::map<std::string, std::string> types;  // by family
  std::map<std::string, double> samples;     // by name and labels as written
  std::vector<std::string> errors;
};

// The grammar of text format 0.0.4 as far as a scraper depends on it.
Exposition parse(const std::string& text) {
  Exposition out;
  std::istringstream lines(text);
  std::string line, family;
  std::set<std::string> closed;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string hash, what, name;
    if (line.rfind("# HELP ", 0) == 0) continue;
    if (line.rfind("# TYPE ", 0) == 0) {
      words >> hash >> what >> name;
      if (!closed.insert(name).second) out.errors.push_back("family twice: " + name);
      words >> out.types[name];
      family = name;
      continue;
    }
    const size_t space = line.rfind(' ');
    const std::string key = line.substr(0, space), value = line.substr(space + 1);
    const std::string bare = key.substr(0, key.find('{'));
    if (bare.rfind(family, 0) != 0) out.errors.push_back("sample outside its family: " + line);
    if (!out.samples.emplace(key, value == "+Inf" ? INFINITY : std::stod(value)).second)
      out.errors.push_back("sample twice: " + line);
  }
  return out;
}

constexpr const char* kLabels = "model_name=\"m\",engine=\"0\"";

std::string series(const std::string& name, const std::string& more = "") {
  return name + "{" + kLabels + (more.empty() ? "" : "," + more) + "}";
}

// Buckets of one histogram as (bound, cumulative count), in the order written.
std::vector<std::pair<std::string, uint64_t>> buckets(const std::string& text, const std::string& name) {
  std::vector<std::pair<std::string, uint64_t>> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(name + "_bucket{", 0) != 0) continue;
    const size_t at = line.find("le=\"") + 4;
    out.emplace_back(line.substr(at, line.find('"', at) - at), std::stoull(line.substr(line.rfind(' '))));
  }
  return out;
}

std::vector<std::string> bounds_of(const std::string& text, const std::string& name) {
  std::vector<std::string> out;
  for (const auto& [bound, count] : buckets(text, name)) out.push_back(bound);
  return out;
}

using Bounds = std::vector<std::string>;

TEST(MetricRegistry, WritesTheTextFormat) {
  MetricRegistry registry;
  registry.counter({"a_total", "b_total"}, "one\ntwo \\", {{"path", "C:\\ \"x\"\n"}}).add(2);
  registry.gauge({"g"}, "gauge", {}).set(0.25);
  Histogram& histogram = registry.histogram({"h"}, "histogram", {}, {0.1, 1});
  histogram.observe(0.1);
  histogram.observe(0.5);
  histogram.observe(7);
  histogram.observe(NAN);
  EXPECT_EQ(registry.exposition(),
            "# HELP a_total one\\ntwo \\\\\n# TYPE a_total counter\na_total{path=\"C:\\\\ \\\"x\\\"\\n\"} 2\n"
            "# HELP b_total one\\ntwo \\\\\n# TYPE b_total counter\nb_total{path=\"C:\\\\ \\\"x\\\"\\n\"} 2\n"
            "# HELP g gauge\n# TYPE g gauge\ng 0.25\n"
            "# HELP h histogram\n# TYPE h histogram\n"
            "h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 7.6\n");
}

TEST(MetricRegistry, GivesTheSameSeriesAgainAndRefusesAnotherKind) {
  MetricRegistry registry;
  registry.counter({"a"}, "", {{"x", "1"}}).add();
  registry.counter({"a"}, "", {{"x", "1"}}).add();
  EXPECT_EQ(registry.counter({"a"}, "", {{"x", "1"}}).value(), 2);
  EXPECT_THROW(registry.gauge({"a"}, "", {}), InternalError);
  EXPECT_THROW(registry.gauge({"1a"}, "", {}), InternalError);
  EXPECT_THROW(registry.gauge({"b"}, "", {{"x:y", ""}}), InternalError);
}

TEST(MetricRegistry, BoundsItsLabelSets) {
  MetricRegistry registry;
  for (size_t i = 0; i < MetricRegistry::kMaxSeries + 50; ++i)
    registry.counter({"a"}, "", {{"x", std::to_string(i)}}).add();
  EXPECT_EQ(registry.counter({"a"}, "", {{"x", "other"}}).value(), 50);
}

TEST(MetricRegistry, CountsFromManyThreads) {
  MetricRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&registry] {
      for (int i = 0; i < 1000; ++i) {
        registry.counter({"c"}, "", {}).add();
        registry.histogram({"h"}, "", {}, {1}).observe(2);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.counter({"c"}, "", {}).value(), 4000);
  EXPECT_EQ(registry.histogram({"h"}, "", {}, {1}).sum(), 8000);
}

TEST(ServeMetrics, HasEveryNameThatVllmsDashboardQueries) {
  ServeMetrics metrics({.model_name = "m"});
  EngineFacts facts;
  facts.num_blocks = 10;
  facts.activation_dtype = "bf16";
  metrics.on_engine_ready(facts);
  const Exposition exposition = parse(metrics.exposition());
  EXPECT_TRUE(exposition.errors.empty()) << testing::PrintToString(exposition.errors);
  for (const char* name :
       {"e2e_request_latency_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds",
        "time_to_first_token_seconds", "request_prompt_tokens", "request_generation_tokens",
        "request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds",
        "request_inference_time_seconds", "request_max_num_generation_tokens", "request_params_n",
        "request_params_max_tokens", "iteration_tokens_total", "request_prefill_kv_computed_tokens",
        "time_per_output_token_seconds"}) {
    ASSERT_TRUE(exposition.types.count(std::string("vllm:") + name)) << name;
    EXPECT_EQ(exposition.types.at(std::string("vllm:") + name), "histogram") << name;
    EXPECT_TRUE(exposition.samples.count(series(std::string("vllm:") + name + "_sum"))) << name;
    EXPECT_TRUE(exposition.samples.count(series(std::string("vllm:") + name + "_bucket", "le=\"+Inf\""))) << name;
  }
  for (const char* name : {"prompt_tokens_total", "generation_tokens_total", "num_preemptions_total",
                           "prefix_cache_queries_total", "prefix_cache_hits_total", "prompt_tokens_cached_total"}) {
    EXPECT_EQ(exposition.types.at(std::string("vllm:") + name), "counter") << name;
    EXPECT_TRUE(exposition.samples.count(series(std::string("vllm:") + name))) << name;
  }
  for (const char* name :
       {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "gpu_cache_usage_perc"}) {
    EXPECT_EQ(exposition.types.at(std::string("vllm:") + name), "gauge") << name;
    EXPECT_TRUE(exposition.samples.count(series(std::string("vllm:") + name))) << name;
  }
  for (const char* reason : {"stop", "length", "abort", "error"})
    EXPECT_TRUE(exposition.samples.count(
        series("vllm:request_success_total", std::string("finished_reason=\"") + reason + "\"")));
  EXPECT_TRUE(exposition.samples.count(
      series("vllm:cache_config_info", "block_size=\"16\",cache_dtype=\"bf16\",num_gpu_blocks=\"10\"")));
}

TEST(ServeMetrics, HasVllmsBuckets) {
  const std::string text = ServeMetrics({.model_name = "m", .max_model_len = 4096}).exposition();
  EXPECT_EQ(bounds_of(text, "vllm:time_to_first_token_seconds"),
            (Bounds{"0.001", "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.25", "0.5",  "0.75", "1",
                    "2.5",   "5",     "7.5",  "10",   "20",   "40",   "80",   "160", "640",  "2560", "+Inf"}));
  EXPECT_EQ(bounds_of(text, "vllm:inter_token_latency_seconds"),
            (Bounds{"0.01", "0.025", "0.05", "0.075", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5",
                    "0.75", "1",     "2.5",  "5",     "7.5", "10",   "20",  "40",  "80",  "+Inf"}));
  for (const char* name : {"e2e_request_latency", "request_queue_time", "request_prefill_time", "request_decode_time"})
    EXPECT_EQ(bounds_of(text, std::string("vllm:") + name + "_seconds"),
              (Bounds{"0.3", "0.5", "0.8", "1",  "1.5", "2",   "2.5", "5",   "10",   "15",   "20",
                      "30",  "40",  "50",  "60", "120", "240", "480", "960", "1920", "7680", "+Inf"}));
  EXPECT_EQ(bounds_of(text, "vllm:request_prompt_tokens"),
            (Bounds{"1", "2", "5", "10", "20", "50", "100", "200", "500", "1000", "2000", "+Inf"}));
  EXPECT_EQ(bounds_of(text, "vllm:iteration_tokens_total"),
            (Bounds{"1", "8", "16", "32", "64", "128", "256", "512", "1024", "2048", "4096", "8192", "16384", "+Inf"}));
  EXPECT_EQ(bounds_of(text, "vllm:request_params_n"), (Bounds{"1", "2", "5", "10", "20", "+Inf"}));
}

TEST(ServeMetrics, FollowsARequest) {
  ServeMetrics metrics({.model_name = "m"});
  metrics.on_admitted(2, 100);
  metrics.on_first_token(0.03, 40, 16);
  metrics.on_token(-1);
  metrics.on_token(0.02);
  metrics.on_token(0.08);
  metrics.on_finished({.reason = FinishReason::length,
                       .n = 2,
                       .max_tokens = 100,
                       .prompt_tokens = 40,
                       .cached_tokens = 16,
                       .generated_tokens = 3,
                       .longest_choice = 3,
                       .queue_seconds = 0.01,
                       .prefill_seconds = 0.02,
                       .decode_seconds = 0.1,
                       .e2e_seconds = 0.13});
  const std::string text = metrics.exposition();
  const Exposition exposition = parse(text);
  const auto value = [&](const std::string& name, const std::string& more = "") {
    return exposition.samples.at(series(name, more));
  };
  for (const std::string prefix : {"trireme_", "vllm:"}) {
    EXPECT_EQ(value(prefix + "prompt_tokens_total"), 40);
    EXPECT_EQ(value(prefix + "generation_tokens_total"), 3);
    EXPECT_EQ(value(prefix + "prompt_tokens_by_source_total", "source=\"local_compute\""), 24);
    EXPECT_EQ(value(prefix + "inter_token_latency_seconds_count"), 2);
    EXPECT_DOUBLE_EQ(value(prefix + "request_inference_time_seconds_sum"), 0.12);
    EXPECT_DOUBLE_EQ(value(prefix + "request_time_per_output_token_seconds_sum"), 0.05);
    EXPECT_EQ(value(prefix + "request_params_max_tokens_sum"), 100);
  }
  EXPECT_EQ(value("vllm:request_success_total", "finished_reason=\"length\""), 1);
  EXPECT_EQ(buckets(text, "vllm:time_to_first_token_seconds")[3].second, 0u);  // <= 0.02
  EXPECT_EQ(buckets(text, "vllm:time_to_first_token_seconds")[4].second, 1u);  // <= 0.04
}

TEST(ServeMetrics, KeepsCountersRisingOverARestart) {
  ServeMetrics metrics({.model_name = "m"});
  metrics.on_engine_stats({.running = 3,
                           .waiting = 2,
                           .blocks_total = 100,
                           .blocks_free = 20,
                           .blocks_cached = 30,
                           .prompt_tokens = 300,
                           .generated_tokens = 20,
                           .preemptions = 4,
                           .prefix_queries = 50,
                           .prefix_hits = 25,
                           .steps = 10});
  EXPECT_EQ(metrics.sample().kv_usage, 0.5);
  metrics.on_restart("silent");
  metrics.on_engine_stats(
      {.blocks_total = 100, .blocks_free = 100, .preemptions = 1, .prefix_queries = 10, .steps = 1});
  metrics.on_rank_beat(1, 0.012);
  metrics.on_http_response(200);
  metrics.on_rejected("queue_full");
  const Exposition exposition = parse(metrics.exposition());
  EXPECT_EQ(exposition.samples.at(series("vllm:num_preemptions_total")), 5);
  EXPECT_EQ(exposition.samples.at(series("vllm:prefix_cache_queries_total")), 60);
  EXPECT_EQ(exposition.samples.at(series("trireme_steps_total")), 11);
  EXPECT_EQ(exposition.samples.at(series("vllm:iteration_tokens_total_count")), 11);
  EXPECT_EQ(exposition.samples.at(series("vllm:iteration_tokens_total_sum")), 320);
  EXPECT_EQ(exposition.samples.at(series("vllm:kv_cache_usage_perc")), 0);
  EXPECT_EQ(exposition.samples.at(series("trireme_engine_restarts_total", "cause=\"silent\"")), 1);
  EXPECT_EQ(exposition.samples.at(series("trireme_rank_step_seconds", "rank=\"1\"")), 0.012);
  EXPECT_EQ(exposition.samples.at(series("trireme_http_responses_total", "code=\"200\"")), 1);
  EXPECT_EQ(exposition.samples.at(series("vllm:admission_rejections_total", "reason=\"queue_full\"")), 1);
}

TEST(ServeMetrics, LeavesVllmsNamesOutWhereTheyAreNotWanted) {
  EXPECT_EQ(ServeMetrics({.model_name = "m", .vllm_names = false}).exposition().find("vllm:"), std::string::npos);
}

TEST(ServeMetrics, HasEveryNameThatOurDashboardQueries) {
  ServeMetrics metrics({.model_name = "m"});
  metrics.on_engine_stats({.blocks_total = 1});
  metrics.on_restart("ended");
  metrics.on_rank_beat(0, 0.1);
  metrics.on_http_response(200);
  metrics.on_rejected("queue_full");
  const std::string text = metrics.exposition();
  const std::string board = read_text_file(TRIREME_SOURCE_DIR "/configs/grafana.json");
  parse_json(board, "grafana.json");
  size_t found = 0;
  for (const std::string prefix : {"vllm:", "trireme_"})
    for (size_t at = board.find(prefix); at != std::string::npos; at = board.find(prefix, at + 1), ++found) {
      const size_t end = board.find_first_of("{[,) ", at);
      EXPECT_NE(text.find("\n" + board.substr(at, end - at) + "{"), std::string::npos) << board.substr(at, end - at);
    }
  EXPECT_GT(found, 50u);
}

TEST(StatsLine, IsVllms) {
  const StatsSample before{.prompt_tokens = 100, .generation_tokens = 10, .prefix_queries = 10, .prefix_hits = 5};
  StatsSample after = before;
  EXPECT_TRUE(is_idle(before, after));
  after = {.prompt_tokens = 1100,
           .generation_tokens = 265,
           .prefix_queries = 110,
           .prefix_hits = 30,
           .running = 3,
           .waiting = 1,
           .kv_usage = 0.1234};
  EXPECT_FALSE(is_idle(before, after));
  EXPECT_EQ(stats_line(before, after, 10),
            "Engine 000: Avg prompt throughput: 100.0 tokens/s, Avg generation throughput: 25.5 tokens/s, "
            "Running: 3 reqs, Waiting: 1 reqs, GPU KV cache usage: 12.3%, Prefix cache hit rate: 25.0%");
}

}  // namespace
}  // namespace trireme
