#include "gateway/http/http_server.h"

#include <thread>

#include "base/error.h"
#include "gateway/http/io_thread.h"
#include "gateway/http/listener.h"

namespace trireme {

struct HttpServer::State {
  std::shared_ptr<HttpCore> core;
  std::vector<std::shared_ptr<IoThread>> threads;
  std::shared_ptr<Listener> listener;
  bool closed = false;
};

HttpServer::HttpServer(HttpServerOptions options, std::vector<Route> routes) : state_(std::make_unique<State>()) {
  if (options.io_threads < 1 || options.io_threads > 256) throw ConfigError("the number of I/O threads must be 1 to 256");
  if (options.limits.max_connections < 1) throw ConfigError("the limit of connections must be at least 1");
  const int num_threads = options.io_threads;
  state_->core = std::make_shared<HttpCore>(std::move(options), std::move(routes));
  for (int i = 0; i < num_threads; ++i) state_->threads.push_back(std::make_shared<IoThread>(state_->core));
  state_->listener = std::make_shared<Listener>(state_->core, state_->threads);
}

HttpServer::~HttpServer() { close(); }

void HttpServer::start() {
  for (const auto& thread : state_->threads) thread->start();
  state_->listener->start();
}

uint16_t HttpServer::port() const { return state_->listener->port(); }
const std::string& HttpServer::url() const { return state_->listener->url(); }
void HttpServer::reload() { state_->core->reload(); }
HttpCounters HttpServer::counters() const { return state_->core->counters.copy(); }

void HttpServer::stop_accepting() {
  if (state_->core->draining.exchange(true)) return;
  state_->listener->stop();
  for (const auto& thread : state_->threads) thread->drain();
}

bool HttpServer::drain(std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  stop_accepting();
  while (!state_->listener->closed() || state_->core->counters.connections_open > 0) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void HttpServer::close() {
  if (std::exchange(state_->closed, true)) return;
  stop_accepting();
  for (const auto& thread : state_->threads) thread->stop();
}

}  // namespace trireme
