#include "launcher/bench_serve_flags.h"

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace trireme {
namespace {

void add_server(CLI::App& app, BenchServeFlags& flags) {
  BenchServeCommand& command = flags.command;
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("Server"); };
  add("--backend", command.backend_name, "openai or vllm (completions), or openai-chat")->capture_default_str();
  add("--base-url", flags.base_url, "http://HOST:PORT[/PATH], instead of --host and --port");
  add("--host", command.host, "Host of the server")->capture_default_str();
  add("--port", command.port, "Its port")->capture_default_str();
  add("--endpoint", command.endpoint, "Path (default: /v1/completions, or /v1/chat/completions for openai-chat)");
  add("--model", command.model, "Name of the model (default: the first the server lists)");
  add("--header", flags.headers, "More headers: NAME=VALUE ...");
  add("--extra-body", flags.extra_body, "JSON object whose keys go into every request");
  add("--ready-check-timeout-sec", command.ready_timeout, "Wait so long for the server to answer /v1/models")
      ->capture_default_str();
  app.add_flag("--insecure", flags.insecure, "")->group("");
}

void add_load(CLI::App& app, BenchServeFlags& flags) {
  BenchServeCommand& command = flags.command;
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("Load"); };
  add("--dataset-name", command.dataset, "random, sharegpt or custom")->capture_default_str();
  add("--dataset-path", command.dataset_path, "File of sharegpt (JSON) or custom (JSON lines with \"prompt\")");
  add("--num-prompts", command.num_prompts, "Requests in all")->capture_default_str();
  add("--random-input-len", command.random_input_len, "Prompt tokens")->capture_default_str();
  add("--random-output-len", command.random_output_len, "Tokens to generate")->capture_default_str();
  add("--input-len", flags.input_len, "The same as --random-input-len");
  add("--output-len", flags.output_len, "The same as --random-output-len");
  add("--random-range-ratio", command.random_range_ratio,
      "R: lengths are uniform in [length * (1 - R), length * (1 + R)]")
      ->capture_default_str();
  add("--random-prefix-len", command.random_prefix_len, "Tokens before each prompt that all share")
      ->capture_default_str();
  add("--random-vocab-size", command.vocab_size, "Random ids are below this where no tokenizer says")
      ->capture_default_str();
  add("--tokenizer", command.tokenizer,
      "Model whose tokenizer makes and counts prompts (default: none; random prompts are plain words)");
  app.add_flag("--token-ids", command.token_ids, "Prompts are sent as token ids, not as text")->group("Load");
  add("--request-rate", flags.request_rate, "Requests per second, or inf: all at once")->capture_default_str();
  add("--burstiness", command.burstiness, "Of arrivals: 1 Poisson, below burstier, above more even")
      ->capture_default_str();
  add("--max-concurrency", command.max_concurrency, "Most requests at once (0: any)")->capture_default_str();
  add("--num-warmups", command.num_warmups, "Requests before measuring, with prompts of their own")
      ->capture_default_str();
  add("--seed", command.seed,
      "Of prompts and arrivals: the same seed twice finds its prompts in the server's prefix cache")
      ->capture_default_str();
  app.add_flag("--ignore-eos", command.ignore_eos, "Generate the full length")->group("Load");
}

void add_sampling(CLI::App& app, BenchServeFlags& flags) {
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("Sampling"); };
  add("--temperature", flags.temperature, "Default: 0, greedy");
  add("--top-p", flags.top_p, "");
  add("--top-k", flags.top_k, "");
  add("--min-p", flags.min_p, "");
  add("--frequency-penalty", flags.frequency_penalty, "");
  add("--presence-penalty", flags.presence_penalty, "");
  add("--repetition-penalty", flags.repetition_penalty, "");
  add("--logprobs", flags.logprobs, "Log-probabilities per token");
}

void add_figures(CLI::App& app, BenchServeFlags& flags) {
  BenchServeCommand& command = flags.command;
  const auto add = [&app](auto&&... arguments) { return app.add_option(arguments...)->group("Figures"); };
  add("--percentile-metrics", flags.percentile_metrics, "Of ttft, tpot, itl, e2el")->capture_default_str();
  add("--metric-percentiles", flags.percentiles, "Such as 50,90,99")->capture_default_str();
  add("--goodput", flags.goodput, "Milliseconds a good request stays within: ttft:500 tpot:50 e2el:2000");
  app.add_flag("--save-result", command.save_result, "Write the figures to a JSON file")->group("Figures");
  app.add_flag("--save-detailed", command.save_detailed, "The same, with every request's")->group("Figures");
  app.add_flag("--append-result", command.append_result, "The same, behind what the file holds")->group("Figures");
  add("--result-dir", command.result_dir, "Its folder");
  add("--result-filename", command.result_filename, "Its name");
  add("--label", command.label, "Begins that name");
  add("--metadata", flags.metadata, "KEY=VALUE ... beside the figures");
  add("--plot", command.plot, "Draw throughput over time and latency percentiles, an SVG file");
  app.add_flag("--disable-tqdm", flags.disable_progress, "No progress bar")->group("Figures");
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

double parse_double(const std::string& text, const std::string& flag) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || !std::isfinite(value))
    throw ConfigError(flag + " must be a number, got " + text);
  return value;
}

std::vector<std::pair<std::string, std::string>> parse_pairs(const std::vector<std::string>& texts, const char* flag) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || text.find_first_of("\r\n") != std::string::npos)
      throw ConfigError(std::string(flag) + " must be NAME=VALUE, got " + text);
    pairs.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return pairs;
}

void resolve_base_url(const std::string& url, BenchServeCommand& command) {
  if (url.empty()) return;
  if (url.rfind("https://", 0) == 0)
    throw ConfigError("--base-url " + url + ": this client speaks plain HTTP; load the server's own port, without TLS");
  const std::string rest = url.rfind("http://", 0) == 0 ? url.substr(7) : url;
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string authority = rest.substr(0, slash);
  command.base_path = rest.substr(slash);
  while (!command.base_path.empty() && command.base_path.back() == '/') command.base_path.pop_back();
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  command.host = authority.substr(0, has_port ? colon : authority.size());
  command.port = has_port ? authority.substr(colon + 1) : "80";
  if (command.host.size() > 1 && command.host.front() == '[')
    command.host = command.host.substr(1, command.host.size() - 2);
  if (command.host.empty()) throw ConfigError("--base-url must be http://HOST:PORT, got " + url);
}

Goodput parse_goodput(const std::vector<std::string>& texts) {
  Goodput goodput;
  for (const std::string& text : texts) {
    const size_t colon = std::min(text.find(':'), text.size());
    const std::string name = text.substr(0, colon);
    std::optional<double>* target = name == "ttft"   ? &goodput.ttft
                                    : name == "tpot" ? &goodput.tpot
                                    : name == "e2el" ? &goodput.e2el
                                                     : nullptr;
    if (!target || colon == text.size())
      throw ConfigError("--goodput must be ttft:MS, tpot:MS or e2el:MS, got " + text);
    *target = parse_double(text.substr(colon + 1), "--goodput");
    if (**target < 0) throw ConfigError("--goodput must be 0 or more milliseconds, got " + text);
  }
  return goodput;
}

void resolve_figures(const BenchServeFlags& flags, BenchServeCommand& command) {
  command.percentile_metrics = split(flags.percentile_metrics, ',');
  for (const std::string& metric : command.percentile_metrics)
    if (metric != "ttft" && metric != "tpot" && metric != "itl" && metric != "e2el")
      throw ConfigError("--percentile-metrics must be of ttft, tpot, itl, e2el, got " + metric);
  command.percentiles.clear();
  for (const std::string& text : split(flags.percentiles, ',')) {
    command.percentiles.push_back(parse_double(text, "--metric-percentiles"));
    if (command.percentiles.back() < 0 || command.percentiles.back() > 100)
      throw ConfigError("--metric-percentiles must be in [0, 100], got " + text);
  }
  command.goodput = parse_goodput(flags.goodput);
  command.metadata = parse_pairs(flags.metadata, "--metadata");
  command.headers = parse_pairs(flags.headers, "--header");
}

void resolve_body(const BenchServeFlags& flags, BenchServeCommand& command) {
  json::object& body = command.extra_body;
  const auto put = [&body](const char* key, const auto& value) {
    if (value) body[key] = *value;
  };
  put("temperature", flags.temperature);
  put("top_p", flags.top_p);
  put("min_p", flags.min_p);
  put("top_k", flags.top_k);
  put("frequency_penalty", flags.frequency_penalty);
  put("presence_penalty", flags.presence_penalty);
  put("repetition_penalty", flags.repetition_penalty);
  if (flags.logprobs && command.backend == ServeBackend::chat) {
    body["logprobs"] = true;
    body["top_logprobs"] = *flags.logprobs;
  } else {
    put("logprobs", flags.logprobs);
  }
  if (flags.extra_body.empty()) return;
  boost::system::error_code error;
  const json::value given = json::parse(flags.extra_body, error);
  if (error || !given.is_object())
    throw ConfigError("--extra-body must be a JSON object such as {\"top_k\": 5}, got " + flags.extra_body);
  for (const auto& [key, value] : given.get_object()) body[key] = value;
}

void check_load(const BenchServeCommand& command) {
  const auto at_least = [](int value, int least, const char* flag) {
    if (value < least)
      throw ConfigError(std::string(flag) + " must be at least " + std::to_string(least) + ", got " +
                        std::to_string(value));
  };
  at_least(command.num_prompts, 1, "--num-prompts");
  at_least(command.num_warmups, 0, "--num-warmups");
  at_least(command.random_input_len, 1, "--random-input-len");
  at_least(command.random_output_len, 1, "--random-output-len");
  at_least(command.random_prefix_len, 0, "--random-prefix-len");
  at_least(command.vocab_size, 1, "--random-vocab-size");
  at_least(command.max_concurrency, 0, "--max-concurrency");
  if (!(command.random_range_ratio >= 0 && command.random_range_ratio < 1))
    throw ConfigError("--random-range-ratio must be in [0, 1), got " + std::to_string(command.random_range_ratio));
  if (!(command.burstiness > 0 && command.burstiness < 1e6))
    throw ConfigError("--burstiness must be above 0, got " + std::to_string(command.burstiness));
  if (command.dataset != "random" && command.dataset != "sharegpt" && command.dataset != "custom")
    throw ConfigError("--dataset-name must be random, sharegpt or custom, got " + command.dataset);
  if (command.dataset != "random" && command.dataset_path.empty())
    throw ConfigError("--dataset-name " + command.dataset + " needs --dataset-path FILE");
  if (command.token_ids && command.backend == ServeBackend::chat)
    throw ConfigError("--token-ids: a chat's messages are text; use --backend openai");
}

}  // namespace

void add_bench_serve_flags(CLI::App& app, BenchServeFlags& flags) {
  add_server(app, flags);
  add_load(app, flags);
  add_sampling(app, flags);
  add_figures(app, flags);
}

BenchServeCommand resolve(const BenchServeFlags& flags, const std::string& api_key) {
  BenchServeCommand command = flags.command;
  if (command.backend_name == "openai-chat")
    command.backend = ServeBackend::chat;
  else if (command.backend_name != "openai" && command.backend_name != "vllm")
    throw ConfigError("--backend must be openai, openai-chat or vllm, got " + command.backend_name);
  if (flags.insecure) throw ConfigError("--insecure is for TLS, which this client does not speak: leave it out");
  resolve_base_url(flags.base_url, command);
  if (!command.endpoint.empty() && command.endpoint[0] != '/')
    throw ConfigError("--endpoint must begin with /, got " + command.endpoint);
  if (flags.input_len) command.random_input_len = int(*flags.input_len);
  if (flags.output_len) command.random_output_len = int(*flags.output_len);
  if (flags.request_rate != "inf") {
    command.request_rate = parse_double(flags.request_rate, "--request-rate");
    if (command.request_rate <= 0)
      throw ConfigError("--request-rate must be above 0 or inf, got " + flags.request_rate);
  }
  check_load(command);
  resolve_figures(flags, command);
  resolve_body(flags, command);
  command.show_progress = !flags.disable_progress;
  command.api_key = api_key;
  return command;
}

}  // namespace trireme
