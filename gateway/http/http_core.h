#pragma once
// What every connection of one server shares: options, routes, keys, TLS, counters. Any thread.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "gateway/http/api_keys.h"
#include "gateway/http/cors.h"
#include "gateway/http/http_counters.h"
#include "gateway/http/http_options.h"
#include "gateway/http/router.h"
#include "gateway/http/tls.h"

namespace trireme {

// What is answered without asking a handler: a refusal, OPTIONS.
struct ReadyAnswer {
  int status = 0;
  std::string message;  // of the error; 204 has none
  std::vector<HttpHeader> extra;
};

class HttpCore {
 public:
  HttpCore(HttpServerOptions options, std::vector<Route> routes);

  // Judges a request by its head: a ready answer, or the route whose handler is to answer.
  std::optional<ReadyAnswer> judge(const HttpRequest& request, const Route*& route) const;

  bool admit_connection(const std::string& peer_address);   // false: over a limit; true: leave_connection() must follow
  void leave_connection(const std::string& peer_address);
  std::unique_ptr<TlsSession> accept_tls();                 // null: plain HTTP
  void reload();                                            // keys and certificates; throws and keeps what was

  const HttpServerOptions options;
  const Cors cors;
  std::atomic<bool> draining{false};
  mutable LiveHttpCounters counters;

 private:
  ReadyAnswer answer_options(const HttpRequest& request, const std::string& allow) const;
  ReadyAnswer refuse_route(const HttpRequest& request, const std::string& allow) const;

  const Router router_;
  mutable std::mutex mutex_;  // guards the rest
  std::shared_ptr<const ApiKeys> keys_;
  std::shared_ptr<TlsContext> tls_;
  std::unordered_map<std::string, size_t> connections_of_peer_;
};

std::string make_request_id();                      // 32 random hexadecimal digits
bool is_request_id(std::string_view id);            // 1 to 128 letters, digits, "-_.:"

}  // namespace trireme
