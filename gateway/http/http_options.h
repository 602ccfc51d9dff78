#pragma once
// What the HTTP server can be told. Defaults are safe: loopback, no CORS, every buffer and wait bounded.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gateway/http/exchange.h"
#include "gateway/http/http_framer.h"

namespace trireme {

struct HttpLimits {
  using Milliseconds = std::chrono::milliseconds;

  FramingLimits framing;
  size_t max_connections = 4096;                     // one more is told 503 and closed
  size_t max_connections_per_peer = 0;               // 0: no limit (one proxy is one address)
  size_t max_buffered_body_bytes = size_t(1) << 30;  // bodies of all requests under way: 503 past it
  size_t max_pipelined_bytes = 64 << 10;             // behind an unanswered request; more: closed after its answer
  Milliseconds header_timeout{10'000};               // TLS handshake, first byte, whole header: 408 (silence: closed)
  Milliseconds body_timeout{30'000};                 // every so long min_body_rate must have been kept: 408
  size_t min_body_rate = 1024;                       // bytes/s
  Milliseconds idle_timeout{75'000};                 // between requests
  Milliseconds write_timeout{30'000};                // every so long of a full socket, min_write_rate likewise: cut
  size_t min_write_rate = 1024;                      // bytes/s
  size_t slow_reader_bytes = 256 << 10;              // a stream with more than this unsent ...
  Milliseconds slow_reader_timeout{30'000};          // ... for this long is cut
  size_t max_unsent_bytes = 1 << 20;                 // a stream that writes with more than this unsent is cut at once
  size_t socket_send_buffer = 128 << 10;             // SO_SNDBUF, so that the kernel hides no backlog; 0: leave it
  Milliseconds linger_timeout{1'000};                // after our last byte, for the client's end of file
};

struct CorsOptions {
  std::vector<std::string> allowed_origins;  // empty: CORS is off; "*": any
  std::vector<std::string> allowed_methods = {"*"};
  std::vector<std::string> allowed_headers = {"*"};
  bool allow_credentials = false;
};

struct TlsOptions {
  std::string certfile = {}, keyfile = {};  // PEM; both or neither
  std::string ca_certs = {};                // PEM: whom client certificates must be signed by
  int cert_reqs = 0;                        // client certificate: 0 not asked for, 1 optional, 2 required
  bool enabled() const { return !certfile.empty() || !keyfile.empty() || !ca_certs.empty() || cert_reqs != 0; }
};

// Keys guard Access::api_key routes if there is an API key at all, Access::metrics_key routes if there is a metrics key.
struct KeyOptions {
  std::vector<std::string> api_keys;
  std::string api_key_file;  // one key a line; '#' starts a comment line; reread by reload()
  std::vector<std::string> metrics_keys;
  std::string metrics_key_file;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;   // 0: a free one
  std::string uds;        // path of a Unix socket, instead of host and port
  int io_threads = 2;
  bool allow_half_close = false;  // an end of file behind a complete request is no hang-up
  HttpLimits limits;
  CorsOptions cors;
  TlsOptions tls;
  KeyOptions keys;
  std::function<void(const HttpRequest& request, int status)> on_answer;  // any thread, may be empty: an access log
};

}  // namespace trireme
