#pragma once
// trireme SUB-COMMAND FLAGS as plain values. Parsing prints nothing and starts nothing.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/sampling_flags.h"
#include "launcher/bench_serve.h"
#include "launcher/engine_options.h"
#include "launcher/mpirun_command.h"

namespace trireme {

// When the engine ends before its work (supervisor.h), and when the user ends it.
struct RestartOptions {
  int max_restarts = 16;  // in a row without a token; 0: never
  Duration backoff_max = std::chrono::seconds(30);
  Duration load_stall_timeout = std::chrono::seconds(60);
  Duration shutdown_timeout = std::chrono::seconds(30);
  Duration host_timeout = std::chrono::seconds(600);
  std::string report_directory;  // empty: the default
};

struct RunOptions {  // of every sub-command that starts an engine
  EngineOptions engine;
  LaunchOptions launch;
  RestartOptions restart;
  bool verbose = false;
  std::string profile;  // Chrome trace to write, absolute; "": none
};

enum class OutputFormat : uint8_t { text, json };

struct GenerateCommand {
  RunOptions run;
  SamplingFlags sampling;
  std::vector<std::string> prompts;  // arguments
  std::string prompts_file;          // "-": standard input
  bool chat = false;
  std::string chat_template;  // file; "": the model's own
  json::object chat_template_kwargs;
  bool trust_special_tokens = false;  // those that messages spell out
  bool skip_tokenizer = false;        // prompts are ids, outputs have no text
  OutputFormat format = OutputFormat::text;
};

struct BenchCommand {
  RunOptions run;
  bool throughput = false;  // else latency
  int input_len = 32, output_len = 128, n = 1;
  std::vector<int> batch_sizes = {8};  // latency: one after the other on one engine
  int warmup_iterations = 10, iterations = 30;
  int num_prompts = 1000;
  double range_ratio = 0;     // throughput: lengths are uniform in [length * (1 - ratio), length * (1 + ratio)]
  bool all_policies = false;  // throughput: one run per batching policy
  std::string plot;           // SVG of that comparison
  std::string output_json;
};

struct InspectCommand {
  std::string model;
  int tp = 1, pp = 1;
  std::vector<int64_t> pp_layers;
};

struct EngineCommandLine {
  EngineOptions options;
};
struct PrintText {
  std::string text;
};  // --help, --version, version: to standard output, exit 0

using CommandLine =
    std::variant<GenerateCommand, BenchCommand, BenchServeCommand, InspectCommand, EngineCommandLine, PrintText>;

// Throws ConfigError: one line with the remedy (did-you-mean for unknown flags).
CommandLine parse_command_line(std::vector<std::string> arguments);

// The candidate nearest to `word`, when it is near enough to be a slip.
std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace trireme
