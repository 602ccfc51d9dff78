#pragma once
// `trireme bench serve`: loads a running server over HTTP, as `vllm bench serve` does, under its flags and in its
// words. One thread; some thousands of streams.

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace trireme {

enum class ServeBackend : uint8_t { completions, chat };  // openai and vllm are the first, openai-chat the second

struct Goodput {  // milliseconds; unset: any
  std::optional<double> ttft, tpot, e2el;
  bool empty() const { return !ttft && !tpot && !e2el; }
};

struct BenchServeCommand {
  std::string backend_name = "openai";
  ServeBackend backend = ServeBackend::completions;
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string base_path;  // of --base-url: "/prefix"
  std::string endpoint;   // empty: the backend's
  std::string model;      // as the server names it; empty: the first of /v1/models
  std::string tokenizer;  // path or org/name; empty: none, random prompts are ids or plain words
  std::string dataset = "random";
  std::string dataset_path;
  int num_prompts = 1000, num_warmups = 0;
  int random_input_len = 1024, random_output_len = 128, random_prefix_len = 0;
  double random_range_ratio = 0;
  int vocab_size = 30000;   // of random ids where no tokenizer says
  bool token_ids = false;   // prompts are sent as ids
  double request_rate = 0;  // per second; 0: all at once
  double burstiness = 1;    // 1: Poisson; below: burstier; above: more even
  int max_concurrency = 0;  // 0: any
  Goodput goodput;
  std::vector<std::string> percentile_metrics = {"ttft", "tpot", "itl"};
  std::vector<double> percentiles = {99};
  bool ignore_eos = false;
  uint64_t seed = 0;
  double ready_timeout = 0;  // seconds to wait for the server
  bool save_result = false, save_detailed = false, append_result = false;
  std::string result_dir, result_filename, label;
  std::vector<std::pair<std::string, std::string>> metadata, headers;
  bool show_progress = true;
  json::object extra_body;  // sampling flags are in it
  std::string api_key;      // OPENAI_API_KEY
  std::string plot;         // SVG
};

// What came of one request. Seconds; times since the run's start.
struct ServeSample {
  bool success = false;
  std::string error;
  double start = 0, end = 0;
  double ttft = 0;
  std::vector<double> itls;         // between events that carried text
  std::vector<double> token_times;  // of those events
  int64_t input_len = 0, output_len = 0;
  int64_t cached_len = 0;  // of the prompt, what the server found in its prefix cache, as far as it says so
  std::string text;
  double latency() const { return end - start; }
};

struct ServeReport {
  std::string text;      // vLLM's block
  json::object figures;  // vLLM's keys
};

// `duration`: of the whole run, seconds.
ServeReport serve_report(const BenchServeCommand& command, const std::vector<ServeSample>& samples, double duration);
// Throughput over time, and the spread of TTFT and ITL.
std::string serve_plot(const BenchServeCommand& command, const std::vector<ServeSample>& samples, double duration);
// "openai-infqps-concurrency8-model-20261124-120000.json", unless --result-filename says.
std::string result_file(const BenchServeCommand& command, const std::string& model, const std::string& time);

struct ServePromptText {
  json::value prompt;     // text or ids
  int64_t input_len = 0;  // tokens; where no tokenizer counts, what was aimed at, and the server's word replaces it
  int64_t output_len = 0;
};
// Throws ConfigError, CheckpointError: the data set's file.
std::vector<ServePromptText> make_serve_prompts(const BenchServeCommand& command);
// For --num-warmups: random ones have another seed, so that the server's prefix cache does not hold what is measured.
std::vector<ServePromptText> make_warmup_prompts(const BenchServeCommand& command);

// Why the figures are of a warm prefix cache although the prompts are random ones; empty: they are not.
std::string warm_cache_warning(const BenchServeCommand& command, const std::vector<ServeSample>& samples);

// Seconds after the start, ascending: gaps are gamma distributed, scaled so that the last is due at count / rate.
std::vector<double> arrival_times(int count, double rate, double burstiness, uint64_t seed);

// Throws Error when the server cannot be reached at all.
std::vector<ServeSample> drive_server(const BenchServeCommand& command, const std::string& model,
                                      const std::vector<ServePromptText>& prompts, double& duration);
std::string served_model(const BenchServeCommand& command);  // the first of /v1/models; waits `ready_timeout` for it

int run_bench_serve(BenchServeCommand command);

}  // namespace trireme
