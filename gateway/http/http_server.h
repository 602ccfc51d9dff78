#pragma once
// The HTTP server of `trireme serve`: HTTP/1.1 (and 1.0), TLS, keys, limits. What the routes do is the handlers' matter.
//
//   HttpServer server(options, routes);   // binds and listens; clients that dial now wait
//   server.start();                       // serves
//   ...
//   server.drain(30s); server.close();    // no new connections, what is under way ends, the rest is cut

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gateway/http/exchange.h"
#include "gateway/http/http_counters.h"
#include "gateway/http/http_options.h"

namespace trireme {

class HttpServer final {
 public:
  // Throws Error (the address cannot be had) or ConfigError (options that cannot work), each with the remedy.
  HttpServer(HttpServerOptions options, std::vector<Route> routes);
  ~HttpServer();  // close()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  void start();
  uint16_t port() const;           // the real one, also for port 0; 0 for a Unix socket
  const std::string& url() const;  // "http://127.0.0.1:8000"

  // Rereads key files and certificates (on SIGHUP). Throws ConfigError and goes on with the old ones. Any thread.
  void reload();

  // Stops accepting, closes idle connections, lets what is under way end (answers then say Connection: close) and waits
  // for that, at most until the deadline. True: nothing is left. Not from an I/O thread.
  bool drain(std::chrono::milliseconds deadline);
  void stop_accepting();  // the first part of drain(), without waiting
  void close();           // cuts what is left and ends the threads. Not from an I/O thread

  HttpCounters counters() const;  // any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme
