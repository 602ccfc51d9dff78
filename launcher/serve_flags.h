#pragma once
// The flags of `trireme serve`, under vLLM's names: docs/from-vllm.md. Parsing prints nothing and starts nothing.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "launcher/command_line.h"

namespace trireme {

enum class LogFormat : uint8_t { text, json };

struct HttpSettings {
  std::string host = "127.0.0.1";  // address to listen on
  int port = 8000;
  std::string uds;                           // Unix socket, instead of host and port
  std::string ssl_keyfile, ssl_certfile;     // both or none
  std::string ssl_ca_certs;  // of client certificates
  int ssl_cert_reqs = 0;     // client certificates: 0 not asked for, 1 optional, 2 required
  std::vector<std::string> allowed_origins;  // empty: no CORS headers
  std::vector<std::string> allowed_methods = {"*"}, allowed_headers = {"*"};
  bool allow_credentials = false;
  std::string root_path;  // "/prefix" that a proxy leaves before every path
  bool request_id_headers = false;
};

struct ServeCommand {
  RunOptions run;
  HttpSettings http;
  std::vector<std::string> api_keys;  // of flag and environment
  std::string api_key_file;           // one a line, read again on SIGHUP; neither: no key is needed
  std::string metrics_key;                      // empty: /metrics is open
  std::vector<std::string> served_model_names;  // the first is the one answers carry
  std::string chat_template;                    // file; empty: the model's
  bool trust_special_tokens = false;
  std::string response_role = "assistant";
  std::string generation_config = "auto";  // auto: the model's; vllm: none; else a folder with generation_config.json
  json::object override_generation_config;
  std::string tool_call_parser = "auto";  // gateway/tool_calls.h
  int max_queue = 10000;         // requests accepted and not finished; beyond: 429
  double shutdown_timeout = 30;  // seconds for open requests after SIGTERM
  bool log_requests = false, access_log = true, log_stats = true;
  LogFormat log_format = LogFormat::text;
  bool vllm_metrics = true;  // --metrics-compat
  bool force_include_usage = false, prompt_tokens_details = true;
  std::vector<std::string> warnings;  // of flags that are accepted and do nothing, one line each
};

// The arguments after `serve`. Throws ConfigError: one line with the remedy. --config FILE is read here.
std::variant<ServeCommand, PrintText> parse_serve(std::vector<std::string> arguments);

// vLLM's flags that do nothing here or cannot work.
struct ForeignFlag {
  const char* names;  // as CLI11 takes them: "--a,-b"
  enum Arity : uint8_t { none, one, many } arity;
  const char* harmless;  // values that mean what happens anyway: "|auto|0|"; taken without a word
  bool refused;          // else accepted with a warning
  const char* text;      // why, and what to do
};
const std::vector<ForeignFlag>& foreign_flags();

// Where clients watch tokens come: of 256 streams of the 8B shape on an H200 the 99th percentile of the time between tokens
// was 50 ms with such a limit and 189 ms without. Steps of 1,024, 2,048 ... tokens are the cheapest
// (benchmarks/results/h200-served.txt).
inline constexpr int kServedMixedPrefill = 1536, kServedMixedStepMultiple = 1024;

// What a server says once it serves, at most 12 lines, boxed.
struct StartupFacts {
  std::string model, served_name, url;
  std::string device;  // of the engine's facts
  int tp = 1, pp = 1;
  std::string dtype;
  double weight_gb = 0;  // all ranks
  int64_t kv_tokens = 0, max_model_len = 0;
  int max_num_seqs = 0;
  double load_seconds = 0;
  bool needs_key = false;
};
std::string startup_box(const StartupFacts& facts);

}  // namespace trireme
