#include "launcher/serve_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "gateway/generation_config.h"
#include "gateway/http/endpoints/api.h"
#include "gateway/http/endpoints/pages.h"
#include "gateway/http/http_server.h"
#include "launcher/descriptor_limit.h"
#include "launcher/load_fraction.h"
#include "launcher/run_engine.h"
#include "launcher/serve_log.h"
#include "launcher/signals.h"
#include "launcher/version.h"

namespace trireme {
namespace {

constexpr Duration kStatsPeriod = std::chrono::seconds(10);
constexpr std::chrono::milliseconds kLastWords{2000};  // answers that are complete reach their clients
constexpr size_t kMostUnsentOfServer = size_t(8) << 20;  // above ServeOptions::max_unsent_bytes, which acts first

ModelAssets open_assets(const ServeCommand& command) {
  ModelAssets assets = open_model_assets(command.run.engine.model, true, command.chat_template);
  choose_generation_defaults(
      assets, command.generation_config,
      command.override_generation_config.empty() ? "" : json::serialize(command.override_generation_config));
  return assets;
}

ApiOptions api_options(const ServeCommand& command) {
  ApiOptions options;
  options.served_model_names = command.served_model_names;
  options.version = short_version();
  options.tool_call_parser = command.tool_call_parser;
  options.response_role = command.response_role;
  options.force_include_usage = command.force_include_usage;
  options.prompt_tokens_details = command.prompt_tokens_details;
  options.trust_special_tokens = command.trust_special_tokens;
  return options;
}

// Behind a proxy that leaves its prefix the same routes answer there too.
std::vector<Route> with_prefix(std::vector<Route> routes, const std::string& prefix) {
  if (prefix.empty()) return routes;
  const size_t plain = routes.size();
  for (size_t i = 0; i < plain; ++i) {
    Route route = routes[i];
    route.path = prefix + route.path;
    routes.push_back(std::move(route));
  }
  return routes;
}

class ServeRun final : public FrontJob {
 public:
  explicit ServeRun(const ServeCommand& command)
      : command_(command),
        log_(command.log_format),
        assets_(open_assets(command)),
        metrics_({.model_name = command.served_model_names.front(),
                  .version = short_version(),
                  .max_model_len = assets_.checkpoint.config.longest_context(),
                  .vllm_names = command.vllm_metrics}),
        job_(assets_, serve_options()),
        server_(server_options(), routes()) {
    take_hangup_as_reload();
    for (const std::string& warning : command.warnings) log_.line("warning: " + warning);
    server_.start();
    log_.line("listening on " + server_.url() + "; " + command.run.engine.model + " is loading");
  }
  // What is still open learns why before its connection goes.
  ~ServeRun() override {
    job_.release_port();
    job_.cancel();
    server_.drain(kLastWords);
    server_.close();
  }

  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) override {
    job_.start(facts, port, now);
    if (!std::exchange(announced_, true)) announce(facts);
    else log_.line("the engine is back");
  }
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) override { job_.on_events(events, now); }
  void on_engine_lost(const EngineFault& fault, TimePoint now) override {
    job_.on_engine_lost(fault, now);
    steps_.clear();
  }
  void on_request_poisoned(RequestId request, const std::string& message, TimePoint now) override {
    job_.on_request_poisoned(request, message, now);
  }
  void on_restart_counters(const RestartCounters& counters) override { job_.on_restart_counters(counters); }
  void on_started(const std::vector<RequestId>& requests, TimePoint now) override { job_.on_started(requests, now); }
  void on_ranks(const std::vector<RankState>& ranks, TimePoint now) override {
    if (!announced_) job_.set_loading(load_fraction(ranks));
    steps_.resize(ranks.size());
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      if (const auto seconds = steps_[rank].seconds_per_step(ranks[rank], now))
        metrics_.on_rank_beat(int(rank), *seconds);
  }
  bool drain() override {
    log_.line(fmt::format("shutting down: {} open requests have {} s, new ones are refused",
                          job_.status().open_requests, command_.shutdown_timeout));
    return job_.drain();
  }
  void on_tick(TimePoint now) override {
    job_.on_tick(now);
    if (take_reload_request()) reload();
    if (command_.log_stats && now - last_stats_ >= kStatsPeriod) tell_stats(now);
  }
  void cancel() override { job_.cancel(); }
  bool done() const override { return job_.done(); }
  int exit_code() const override { return job_.exit_code(); }
  void finish(TimePoint now) override { job_.finish(now); }
  void release_port() override { job_.release_port(); }

 private:
  ServeOptions serve_options() {
    ServeOptions options;
    options.max_requests = size_t(command_.max_queue);
    options.metrics = &metrics_;
    if (command_.log_requests)
      options.on_admitted = [this](const Request& request) {
        log_.event(fmt::format("request {}: {} prompt tokens, at most {} new, n {}, temperature {}", request.id,
                               request.prompt.size(), request.sampling.max_new_tokens, request.sampling.n,
                               request.sampling.temperature),
                   {{"request", request.id}, {"prompt_tokens", request.prompt.size()}});
      };
    return options;
  }

  HttpServerOptions server_options() {
    HttpServerOptions options = http_server_options(command_);
    if (command_.access_log)
      options.on_answer = [this](const HttpRequest& request, int status) {
        log_.event(fmt::format("{} \"{} {}\" {}", request.peer, request.method, request.path, status),
                   {{"request_id", request.id}, {"status", status}});
      };
    return options;
  }

  std::vector<Route> routes() {
    std::vector<Route> routes = make_api_routes(job_, assets_, api_options(command_));
    routes.push_back(make_page_route());
    routes.push_back(make_metrics_route(metrics_, [this] { return server_.counters(); }));
    return with_prefix(std::move(routes), command_.http.root_path);
  }

  void announce(const EngineFacts& facts) {
    const int64_t weights = std::accumulate(facts.weight_bytes.begin(), facts.weight_bytes.end(), int64_t(0));
    const std::string box = startup_box({.model = command_.run.engine.model,
                                         .served_name = command_.served_model_names.front(),
                                         .url = server_.url(),
                                         .device = facts.device,
                                         .tp = facts.tp,
                                         .pp = facts.pp,
                                         .dtype = facts.dtype,
                                         .weight_gb = double(weights) / 1e9,
                                         .kv_tokens = facts.num_blocks * facts.block_size,
                                         .max_model_len = facts.max_model_len,
                                         .max_num_seqs = facts.num_slots,
                                         .load_seconds = facts.load_seconds,
                                         .needs_key = !command_.api_keys.empty() || !command_.api_key_file.empty()});
    std::fputs(box.c_str(), stdout);
    std::fflush(stdout);
  }

  void reload() {
    try {
      server_.reload();
      log_.line("keys and certificates are read again");
    } catch (const Error& error) {
      log_.line(std::string("warning: the old keys and certificates stay: ") + error.what());
    }
  }

  void tell_stats(TimePoint now) {
    const StatsSample sample = metrics_.sample();
    const double seconds = std::chrono::duration<double>(now - last_stats_).count();
    if (!is_idle(last_sample_, sample)) log_.line(stats_line(last_sample_, sample, seconds));
    last_sample_ = sample;
    last_stats_ = now;
  }

  const ServeCommand& command_;
  const ServeLog log_;
  const ModelAssets assets_;
  ServeMetrics metrics_;
  ServeJob job_;
  HttpServer server_;  // last: its handlers use the rest
  bool announced_ = false;
  std::vector<StepPace> steps_;  // by rank
  StatsSample last_sample_;
  TimePoint last_stats_ = std::chrono::steady_clock::now();
};

}  // namespace

HttpServerOptions http_server_options(const ServeCommand& command) {
  const HttpSettings& http = command.http;
  HttpServerOptions options;
  options.host = http.host;
  options.port = uint16_t(http.port);
  options.uds = http.uds;
  options.limits.max_unsent_bytes = kMostUnsentOfServer;
  options.cors = {.allowed_origins = http.allowed_origins,
                  .allowed_methods = http.allowed_methods,
                  .allowed_headers = http.allowed_headers,
                  .allow_credentials = http.allow_credentials};
  options.tls = {.certfile = http.ssl_certfile,
                 .keyfile = http.ssl_keyfile,
                 .ca_certs = http.ssl_ca_certs,
                 .cert_reqs = http.ssl_cert_reqs};
  options.keys.api_keys = command.api_keys;
  options.keys.api_key_file = command.api_key_file;
  if (!command.metrics_key.empty()) options.keys.metrics_keys = {command.metrics_key};
  return options;
}

int run_serve(const ServeCommand& command) {
  raise_descriptor_limit();
  return run_with_engine(command.run, [&command] { return std::make_unique<ServeRun>(command); });
}

}  // namespace trireme
