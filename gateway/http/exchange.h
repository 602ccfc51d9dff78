#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

struct HttpHeader {
  std::string name, value;
};

struct HttpRequest {               // complete and checked
  std::string id;                  // X-Request-Id as given (if valid) or made; echoed in the answer
  std::string method, path;        // path without the query, percent-decoded, no "..": "/v1/completions"
  std::string query;               // raw, behind '?'
  std::vector<HttpHeader> headers;
  std::string body;
  std::string peer;                // "127.0.0.1:53122"; "unix" over a Unix socket
  const std::string* header(std::string_view name) const;  // case-insensitive; the first; null: absent
};

// One request and its answer. Any thread may call any member; after the client has left, calls do nothing.
// Exactly one of respond() or begin_stream() ... end_stream(). Dropping the last reference unanswered answers 500
// (and cuts a stream that was begun and not ended).
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual void respond(int status, std::string_view content_type, std::string body,
                       std::vector<HttpHeader> extra = {}) = 0;
  virtual void begin_stream(int status, std::string_view content_type, std::vector<HttpHeader> extra = {}) = 0;
  virtual void write(std::string bytes) = 0;  // one part of the stream, in order; never blocks
  virtual void end_stream() = 0;
  virtual void abort() = 0;                   // cut the connection: an error in mid-stream that cannot be told
  // Called once, from an I/O thread, if the client leaves before the end; at once if it has left.
  virtual void on_hangup(std::function<void()> callback) = 0;
  virtual size_t unsent_bytes() const = 0;    // of the stream, waiting for the socket
};

using Handler = std::function<void(std::shared_ptr<Exchange>)>;  // on an I/O thread; must not block

enum class Access : uint8_t { open, api_key, metrics_key };

struct Route {
  std::string method, path;
  Access access;
  Handler handler;
};

}  // namespace trireme
