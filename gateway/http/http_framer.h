#pragma once
// Where one HTTP/1.x request ends and the next begins. A strict reading of RFC 9112: what two servers could read in
// two ways is refused, and the connection must then be closed. Pure: no I/O, no clock; fuzzed.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/http/exchange.h"

namespace trireme {

struct FramingLimits {
  size_t max_header_bytes = 16 << 10;       // request line and fields together: 431
  size_t max_header_fields = 100;           // 431; trailers count too
  size_t max_target_bytes = 8 << 10;        // 414
  size_t max_body_bytes = 32 << 20;         // decoded: 413
  size_t max_chunk_line_bytes = 256;        // size and extensions of one chunk
  size_t max_chunk_extension_bytes = 4096;  // of one request
};

struct FramingError {
  int status = 0;  // 0: none
  std::string message;
};

class HttpFramer {
 public:
  explicit HttpFramer(const FramingLimits& limits) : limits_(limits) {}

  // Takes bytes up to the end of one request, or up to an error, and says how many. `stop_after_head` ends the first
  // call that completes a head there, so that the caller can refuse the request before its body comes.
  size_t feed(std::string_view bytes, bool stop_after_head = false);
  void reset();  // for the next request of the connection

  bool started() const { return started_; }        // any byte of this request has come
  bool head_complete() const { return state_ > State::fields; }
  bool complete() const { return state_ == State::complete; }
  const FramingError& error() const { return error_; }

  // From head_complete() on.
  HttpRequest& request() { return request_; }      // without id and peer; the body grows
  bool keep_alive() const { return keep_alive_; }
  bool is_http_1_0() const { return minor_version_ == 0; }
  bool expects_continue() const { return expects_continue_; }
  bool has_body() const { return chunked_ || content_length_ > 0; }

 private:
  enum class State : uint8_t { request_line, fields, body, chunk_size, chunk_data, chunk_end, trailers, complete };

  void fail(int status, std::string message);
  size_t take_line(std::string_view bytes);
  size_t take_body(std::string_view bytes);
  size_t line_limit() const;
  void fail_long_line();
  void on_line(std::string_view line);
  void on_request_line(std::string_view line);
  void on_version(std::string_view version);
  void on_field(std::string_view line);
  void on_chunk_size(std::string_view line);
  bool parse_field(std::string_view line, std::string_view& name, std::string_view& value);
  void finish_head();
  bool check_host();
  bool check_body_length();
  void check_connection();

  FramingLimits limits_;
  State state_ = State::request_line;
  FramingError error_;
  HttpRequest request_;
  std::string line_;              // the line under way
  std::string authority_;         // of an absolute-form target
  size_t head_bytes_ = 0, num_fields_ = 0, extension_bytes_ = 0;
  uint64_t content_length_ = 0;
  uint64_t remaining_ = 0;        // of the body or of this chunk
  int minor_version_ = 1;
  bool started_ = false, skipped_empty_line_ = false;
  bool keep_alive_ = true, chunked_ = false, expects_continue_ = false;
};

}  // namespace trireme
