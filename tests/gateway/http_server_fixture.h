#pragma once
// A server on a free port with the routes that its tests need. start() after the options are set.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "gateway/http/http_server.h"
#include "tests/gateway/http_client.h"

namespace trireme::test {

using namespace std::chrono_literals;

// Keeps the exchanges that come to "/hold", for the test to answer.
struct Held {
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> exchanges;
  std::atomic<int> hangups{0};

  std::shared_ptr<Exchange> take() {
    std::shared_ptr<Exchange> taken;
    eventually([&] {
      std::lock_guard lock(mutex);
      if (exchanges.empty()) return false;
      taken = exchanges.front();
      exchanges.erase(exchanges.begin());
      return true;
    });
    return taken;
  }
};

inline std::string get(const std::string& path, const std::string& fields = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
inline std::string post(const std::string& path, const std::string& body, const std::string& fields = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() { options.port = 0; }
  ~HttpServerTest() override {
    server_.reset();
    std::lock_guard lock(held_->mutex);
    held_->exchanges.clear();  // an exchange keeps the routes, whose handlers keep `held_`
  }

  std::vector<Route> routes() {
    const auto held = held_;
    const Handler echo = [](std::shared_ptr<Exchange> e) { e->respond(200, "text/plain", e->request().body); };
    const Handler hold = [held](std::shared_ptr<Exchange> e) {
      e->on_hangup([held] { ++held->hangups; });
      std::lock_guard lock(held->mutex);
      held->exchanges.push_back(std::move(e));
    };
    return {{"GET", "/hello", Access::open, [](auto e) { e->respond(200, "text/plain", "hello"); }},
            {"POST", "/echo", Access::open, echo},
            {"GET", "/id", Access::open, [](auto e) { e->respond(200, "text/plain", e->request().id); }},
            {"GET", "/peer", Access::open, [](auto e) { e->respond(200, "text/plain", e->request().peer); }},
            {"GET", "/drop", Access::open, [](auto) {}},
            {"GET", "/throw", Access::open, [](auto) { throw std::runtime_error("secret detail"); }},
            {"GET", "/client-fault", Access::open, [](auto) { throw RequestError("n must be at least 1"); }},
            {"GET", "/evil", Access::open, [](auto e) { e->respond(200, "a/b", "", {{"X", "a\r\nSet-Cookie: b"}}); }},
            {"GET", "/files/*/content", Access::open, [](auto e) { e->respond(200, "a/b", e->request().path); }},
            {"GET", "/models/*", Access::open, [](auto e) { e->respond(200, "a/b", "m" + e->request().path); }},
            {"GET", "/guarded", Access::api_key, [](auto e) { e->respond(200, "a/b", "in"); }},
            {"POST", "/guarded", Access::api_key, echo},
            {"GET", "/metrics", Access::metrics_key, [](auto e) { e->respond(200, "a/b", "metrics"); }},
            {"GET", "/hold", Access::open, hold},
            {"POST", "/hold", Access::open, hold}};
  }
  HttpServer& start() {
    server_ = std::make_unique<HttpServer>(options, routes());
    server_->start();
    return *server_;
  }
  RawResponse ask(const std::string& request, bool head_only = false) {
    RawClient client(server_->port());
    client.send(request);
    return client.response(head_only);
  }

  // A client whose answer the test gives.
  std::shared_ptr<Exchange> hold(RawClient& client) {
    client.send(get("/hold"));
    return held_->take();
  }
  std::shared_ptr<Exchange> hold_stream(RawClient& client) {
    std::shared_ptr<Exchange> exchange = hold(client);
    exchange->begin_stream(200, "text/event-stream");
    return exchange;
  }
  // Sockets on both sides take little, so that a backlog shows in the server.
  RawClient narrow_client() {
    options.limits.socket_send_buffer = 8 << 10;
    return RawClient(start().port(), 8 << 10);
  }

  HttpServerOptions options;
  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  std::unique_ptr<HttpServer> server_;
};

}  // namespace trireme::test
