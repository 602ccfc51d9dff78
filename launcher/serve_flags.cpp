#include "launcher/serve_flags.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "gateway/tool_calls.h"
#include "launcher/config_file.h"
#include "launcher/run_flags.h"

namespace trireme {
namespace {

struct Foreign {  // one flag of the table, as given
  const ForeignFlag* flag;
  std::string name;  // the first long one
  std::vector<std::string> values;
  const CLI::Option* option = nullptr;
};

struct ServeFlags {
  RunFlags run;
  ServeCommand command;
  std::string override_generation_config, log_format = "text", metrics_compat = "vllm", config;
  std::vector<std::string> origins, methods, headers;
  bool disable_access_log = false, disable_log_stats = false, disable_log_requests = false;
  std::vector<std::unique_ptr<Foreign>> foreign;  // CLI11 keeps their addresses
};

void add_http(CLI::App& app, ServeFlags& flags) {
  HttpSettings& http = flags.command.http;
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("HTTP"); };
  add("--host", http.host, "Address to listen on (0.0.0.0: all)")->capture_default_str();
  add("--port", http.port, "Port")->capture_default_str();
  add("--uds", http.uds, "Unix socket to listen on, instead");
  add("--api-key", flags.command.api_keys, "Keys of which clients need one; better: --api-key-file, TRIREME_API_KEY");
  add("--api-key-file", flags.command.api_key_file, "File with one key a line, read again on SIGHUP");
  add("--metrics-key", flags.command.metrics_key, "Key that /metrics needs (default: none)");
  add("--ssl-keyfile", http.ssl_keyfile, "TLS: private key, PEM");
  add("--ssl-certfile", http.ssl_certfile, "TLS: certificate chain, PEM");
  add("--ssl-ca-certs", http.ssl_ca_certs, "TLS: whom client certificates must be signed by, PEM");
  add("--ssl-cert-reqs", http.ssl_cert_reqs, "TLS: client certificate 0 not asked for, 1 optional, 2 required")
      ->capture_default_str();
  add("--allowed-origins", flags.origins, "CORS: origins, words or a JSON list (default: none)");
  add("--allowed-methods", flags.methods, "CORS: methods (default: all)");
  add("--allowed-headers", flags.headers, "CORS: headers (default: all)");
  app.add_flag("--allow-credentials", http.allow_credentials, "CORS: credentials")->group("HTTP");
  add("--root-path", http.root_path, "Path that a proxy leaves before every request's");
  app.add_flag("--enable-request-id-headers", http.request_id_headers, "Answers carry X-Request-Id")->group("HTTP");
  add("--max-queue,--max-num-queued-reqs", flags.command.max_queue, "Most requests not finished; beyond: 429")
      ->capture_default_str();
}

void add_answers(CLI::App& app, ServeFlags& flags) {
  ServeCommand& command = flags.command;
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("Answers"); };
  add("--served-model-name", command.served_model_names, "Names clients may use (default: the model)");
  add("--chat-template", command.chat_template, "File with a chat template (Jinja) that takes the model's place");
  app.add_flag("--trust-special-tokens", command.trust_special_tokens,
               "Special tokens spelled out in a chat's messages are special tokens, not plain text")
      ->group("Answers");
  add("--response-role", command.response_role, "Role of a chat's answers")->capture_default_str();
  add("--generation-config", command.generation_config,
      "Sampling defaults: auto (the model's), vllm (none), or a folder with generation_config.json")
      ->capture_default_str();
  add("--override-generation-config", flags.override_generation_config, "JSON object of sampling defaults");
  add("--tool-call-parser", command.tool_call_parser,
      "How the model writes tool calls: auto (by its chat template), hermes, llama3_json, mistral, none")
      ->capture_default_str();
  app.add_flag("--enable-auto-tool-choice")->description("Tool calls are parsed (they are)")->group("Answers");
  app.add_flag("--enable-force-include-usage", command.force_include_usage, "Every stream ends with its usage")
      ->group("Answers");
  app.add_flag("--enable-prompt-tokens-details,!--no-enable-prompt-tokens-details", command.prompt_tokens_details,
               "Usage tells the cached prompt tokens (it does)")
      ->group("Answers");
}

void add_logs(CLI::App& app, ServeFlags& flags) {
  const std::string group = "Logs and metrics";
  app.add_option("--config", flags.config, "YAML file of flags; those on the command line win")->group(group);
  app.add_option("--log-format", flags.log_format, "text or json")->group(group)->capture_default_str();
  app.add_flag("--enable-log-requests", flags.command.log_requests, "A line per request, without its text")
      ->group(group);
  app.add_flag("--disable-log-requests", flags.disable_log_requests, "No such line (there is none)")->group(group);
  app.add_flag("--disable-access-log,--disable-uvicorn-access-log", flags.disable_access_log, "No line per HTTP answer")
      ->group(group);
  app.add_flag("--disable-log-stats", flags.disable_log_stats, "No line of throughput every 10 s")->group(group);
  app.add_option("--metrics-compat", flags.metrics_compat, "vllm: vllm: names beside ours in /metrics; none")
      ->group(group)
      ->capture_default_str();
}

// The table's flags that nothing else defines; hidden from --help.
void add_foreign(CLI::App& app, ServeFlags& flags) {
  for (const ForeignFlag& row : foreign_flags()) {
    auto foreign = std::make_unique<Foreign>();
    foreign->flag = &row;
    const std::string names = row.names;
    foreign->name = names.substr(0, names.find(','));
    if (app.get_option_no_throw(foreign->name)) continue;
    if (row.arity == ForeignFlag::none)
      foreign->option = app.add_flag(names)->group("");
    else
      foreign->option =
          app.add_option(names, foreign->values)->group("")->expected(1, row.arity == ForeignFlag::one ? 1 : 1 << 20);
    flags.foreign.push_back(std::move(foreign));
  }
}

bool is_harmless(const Foreign& foreign) {
  const std::string value = foreign.values.empty() ? "" : foreign.values.front();
  return std::string(foreign.flag->harmless).find("|" + value + "|") != std::string::npos;
}

// Warnings of the accepted ones; throws for a refused one.
std::vector<std::string> judge_foreign(const ServeFlags& flags) {
  std::vector<std::string> warnings;
  for (const auto& foreign : flags.foreign) {
    if (foreign->option->count() == 0 || is_harmless(*foreign)) continue;
    std::string text = foreign->name;
    for (const std::string& value : foreign->values) text += " " + value;
    if (foreign->flag->refused) throw ConfigError(text + " is not supported: " + foreign->flag->text);
    warnings.push_back(text + " does nothing: " + foreign->flag->text);
  }
  return warnings;
}

// Words, or a JSON list of strings as vLLM takes it: CLI11 itself cuts [a, b] at its commas, quotes left on.
std::vector<std::string> word_list(std::vector<std::string> words) {
  for (std::string& word : words) {
    const size_t begin = word.find_first_not_of(" \"'"), end = word.find_last_not_of(" \"'");
    word = begin == std::string::npos ? "" : word.substr(begin, end - begin + 1);
  }
  words.erase(std::remove(words.begin(), words.end(), ""), words.end());
  return words;
}

// The server reads it, and reads it again; a mistake is told before anything starts.
void check_key_file(const std::string& path) {
  if (path.empty()) return;
  std::ifstream file(path);
  if (!file) throw ConfigError("--api-key-file " + path + " cannot be read");
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    const size_t begin = line.find_first_not_of(" \t\r"), end = line.find_last_not_of(" \t\r");
    if (begin != std::string::npos && line[begin] != '#') keys.push_back(line.substr(begin, end - begin + 1));
  }
  if (keys.empty()) throw ConfigError("--api-key-file " + path + " holds no key: one a line");
}

void resolve_http(const ServeFlags& flags, const CLI::App& app, ServeCommand& command) {
  HttpSettings& http = command.http;
  if (http.port < 0 || http.port > 65535)
    throw ConfigError("--port must be in 0 to 65535, got " + std::to_string(http.port));
  if (!http.uds.empty() && (app.count("--host") > 0 || app.count("--port") > 0))
    throw ConfigError("--uds takes the place of --host and --port: leave those out");
  if (http.ssl_keyfile.empty() != http.ssl_certfile.empty())
    throw ConfigError("TLS needs both --ssl-keyfile and --ssl-certfile");
  if (http.ssl_cert_reqs < 0 || http.ssl_cert_reqs > 2)
    throw ConfigError("--ssl-cert-reqs must be 0, 1 or 2, got " + std::to_string(http.ssl_cert_reqs));
  if (!http.root_path.empty() && http.root_path[0] != '/')
    throw ConfigError("--root-path must begin with /, got " + http.root_path);
  while (!http.root_path.empty() && http.root_path.back() == '/') http.root_path.pop_back();
  http.allowed_origins = word_list(flags.origins);
  if (!flags.methods.empty()) http.allowed_methods = word_list(flags.methods);
  if (!flags.headers.empty()) http.allowed_headers = word_list(flags.headers);
  const auto all = std::find(http.allowed_origins.begin(), http.allowed_origins.end(), "*");
  if (http.allow_credentials && all != http.allowed_origins.end())
    throw ConfigError("--allow-credentials with --allowed-origins * would give every page the keys: name the origins");
  if (!command.api_keys.empty())
    command.warnings.push_back(
        "--api-key can be read by every user of this host: use --api-key-file or TRIREME_API_KEY");
  check_key_file(command.api_key_file);
  for (const char* name : {"TRIREME_API_KEY", "VLLM_API_KEY"})
    if (const char* key = std::getenv(name); key && *key) command.api_keys.push_back(key);
  for (const std::string& key : command.api_keys)
    if (key.empty()) throw ConfigError("an API key is empty: leave it out for no keys at all");
}

void resolve_answers(const ServeFlags& flags, ServeCommand& command) {
  if (!flags.run.profile.empty())
    throw ConfigError("--profile records a run that ends: use it with bench or generate on the same model");
  if (command.max_queue < 1)
    throw ConfigError("--max-queue must be at least 1, got " + std::to_string(command.max_queue));
  command.shutdown_timeout = flags.run.restart.shutdown_s;
  tool_format(command.tool_call_parser, "");  // throws for an unknown one
  const EngineFlags& engine = flags.run.engine;  // the name as given; the engine gets a path from anywhere
  if (command.served_model_names.empty())
    command.served_model_names = {engine.options.model.empty() ? engine.model_flag : engine.options.model};
  if (!flags.override_generation_config.empty()) {
    boost::system::error_code error;
    const json::value value = json::parse(flags.override_generation_config, error);
    if (error || !value.is_object())
      throw ConfigError("--override-generation-config must be a JSON object such as {\"temperature\": 0.5}, got " +
                        flags.override_generation_config);
    command.override_generation_config = value.get_object();
  }
  if (flags.log_format != "text" && flags.log_format != "json")
    throw ConfigError("--log-format must be text or json, got " + flags.log_format);
  command.log_format = flags.log_format == "json" ? LogFormat::json : LogFormat::text;
  if (flags.metrics_compat != "vllm" && flags.metrics_compat != "none")
    throw ConfigError("--metrics-compat must be vllm or none, got " + flags.metrics_compat);
  command.vllm_metrics = flags.metrics_compat == "vllm";
  if (flags.disable_log_requests && command.log_requests)
    throw ConfigError("--enable-log-requests and --disable-log-requests exclude each other");
  command.access_log = !flags.disable_access_log;
  command.log_stats = !flags.disable_log_stats;
}

}  // namespace

std::variant<ServeCommand, PrintText> parse_serve(std::vector<std::string> arguments) {
  for (std::string& argument : arguments)  // short names of vLLM that CLI11 does not know
    for (const char* name : {"-dp", "-dcp", "-pcp", "-asc"})
      if (argument.substr(0, argument.find('=')) == name) argument.insert(0, "-");
  arguments = normalise_arguments(std::move(arguments));
  CLI::App app("Serve a model over HTTP, as OpenAI's API has it", "serve");
  ServeFlags flags;
  add_run_flags(app, flags.run, true);
  app.add_option("--seed", flags.run.seed, "Of dummy weights")->group("Model and parallelism")->capture_default_str();
  add_http(app, flags);
  add_answers(app, flags);
  add_logs(app, flags);
  add_foreign(app, flags);
  try {
    arguments = expand_config_file(app, arguments);
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    return PrintText{app.help()};
  } catch (const CLI::ParseError& error) {
    refuse_arguments(app, error);
  }
  ServeCommand command = flags.command;
  command.warnings = judge_foreign(flags);
  command.run = resolve_run(flags.run);
  EngineOptions& engine = command.run.engine;
  if (!engine.mixed_prefill && engine.device == DeviceKind::cuda) {
    engine.mixed_prefill = kServedMixedPrefill;
    if (!engine.mixed_step_multiple) engine.mixed_step_multiple = kServedMixedStepMultiple;
  }
  resolve_http(flags, app, command);
  resolve_answers(flags, command);
  return command;
}

}  // namespace trireme
