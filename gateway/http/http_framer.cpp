#include "gateway/http/http_framer.h"

#include <algorithm>
#include <utility>

#include "gateway/http/http_syntax.h"

namespace trireme {
namespace {

constexpr size_t kMaxMethodBytes = 32;
constexpr size_t kVersionBytes = 8;  // "HTTP/1.1"

// Fields of which a second one could be read differently by a proxy before us.
constexpr std::string_view kSingletons[] = {"host", "content-length", "transfer-encoding", "authorization", "expect",
                                            "content-type"};

bool is_singleton(std::string_view name) {
  return std::any_of(std::begin(kSingletons), std::end(kSingletons),
                     [&](std::string_view known) { return equals_ignore_case(name, known); });
}

}  // namespace

void HttpFramer::reset() { *this = HttpFramer(limits_); }

void HttpFramer::fail(int status, std::string message) {
  if (error_.status == 0) error_ = {status, std::move(message)};
}

size_t HttpFramer::feed(std::string_view bytes, bool stop_after_head) {
  size_t taken = 0;
  while (taken < bytes.size() && error_.status == 0 && state_ != State::complete) {
    started_ = true;
    const bool had_head = head_complete();
    const std::string_view rest = bytes.substr(taken);
    const bool is_data = state_ == State::body || state_ == State::chunk_data;
    taken += is_data ? take_body(rest) : take_line(rest);
    if (stop_after_head && !had_head && head_complete()) break;
  }
  return taken;
}

size_t HttpFramer::line_limit() const {
  switch (state_) {
    case State::request_line:
      return std::min(limits_.max_header_bytes, kMaxMethodBytes + limits_.max_target_bytes + kVersionBytes + 4);
    case State::chunk_size: return limits_.max_chunk_line_bytes;
    case State::chunk_end: return 2;
    default: return limits_.max_header_bytes - std::min(head_bytes_, limits_.max_header_bytes);
  }
}

void HttpFramer::fail_long_line() {
  if (state_ == State::request_line) {
    return fail(414, "the request line is longer than " + std::to_string(line_limit()) + " bytes: shorten the URL");
  }
  if (state_ == State::chunk_size) return fail(400, "a chunk's size line is too long");
  if (state_ == State::chunk_end) return fail(400, "a chunk's data does not end where its size says");
  fail(431, "the header is larger than " + std::to_string(limits_.max_header_bytes) +
                " bytes: send fewer or shorter fields");
}

size_t HttpFramer::take_line(std::string_view bytes) {
  const size_t newline = bytes.find('\n');
  const size_t wanted = newline == std::string_view::npos ? bytes.size() : newline + 1;
  const size_t limit = line_limit();
  const size_t room = limit - std::min(limit, line_.size());
  const size_t count = std::min(wanted, room);
  line_.append(bytes.substr(0, count));
  // What cannot become a method needs no newline to be refused: a TLS hello, binary noise.
  if (state_ == State::request_line && !line_.empty() && !is_token_char(line_[0]) && line_[0] != '\r') {
    fail(400, "this is not an HTTP request (is it TLS or another protocol on a plain HTTP port?)");
    return count;
  }
  if (count < wanted) {
    fail_long_line();
    return count;
  }
  if (newline == std::string_view::npos) return count;
  std::string_view line = line_;
  line.remove_suffix(1);
  if (!line.ends_with('\r')) {
    fail(400, "a line ends in LF without CR");
    return count;
  }
  line.remove_suffix(1);
  if (line.find('\r') != std::string_view::npos) {
    fail(400, "a line holds a CR without LF");
    return count;
  }
  const bool counts = state_ == State::request_line || state_ == State::fields || state_ == State::trailers;
  if (counts) head_bytes_ += line_.size();
  on_line(line);
  line_.clear();
  return count;
}

size_t HttpFramer::take_body(std::string_view bytes) {
  const size_t count = size_t(std::min<uint64_t>(bytes.size(), remaining_));
  request_.body.append(bytes.substr(0, count));
  remaining_ -= count;
  if (remaining_ == 0) state_ = state_ == State::body ? State::complete : State::chunk_end;
  return count;
}

void HttpFramer::on_line(std::string_view line) {
  switch (state_) {
    case State::request_line: return on_request_line(line);
    case State::fields: return line.empty() ? finish_head() : on_field(line);
    case State::trailers:
      if (line.empty()) {
        state_ = State::complete;
        return;
      }
      return on_field(line);
    case State::chunk_size: return on_chunk_size(line);
    case State::chunk_end:
      if (!line.empty()) return fail(400, "a chunk's data does not end where its size says");
      state_ = State::chunk_size;
      return;
    default: return;
  }
}

void HttpFramer::on_request_line(std::string_view line) {
  if (line.empty()) {  // RFC 9112 2.2: one is forgiven
    if (skipped_empty_line_) return fail(400, "empty lines before the request line");
    skipped_empty_line_ = true;
    return;
  }
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return fail(400, "the request line is not: method, space, target, space, HTTP version");
  }
  const std::string_view method = line.substr(0, first), target = line.substr(first + 1, last - first - 1);
  if (!is_token(method) || method.size() > kMaxMethodBytes) return fail(400, "the method is malformed");
  on_version(line.substr(last + 1));
  if (error_.status != 0) return;
  if (target.size() > limits_.max_target_bytes) {
    return fail(414, "the URL is longer than " + std::to_string(limits_.max_target_bytes) + " bytes");
  }
  auto parsed = parse_target(target, method == "OPTIONS");
  if (!parsed) return fail(400, "the request target is malformed");
  request_.method = method;
  request_.path = std::move(parsed->path);
  request_.query = std::move(parsed->query);
  authority_ = std::move(parsed->authority);
  state_ = State::fields;
}

void HttpFramer::on_version(std::string_view version) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != kVersionBytes || !version.starts_with("HTTP/") || !digit(version[5]) || version[6] != '.' ||
      !digit(version[7])) {
    return fail(400, "the HTTP version is malformed");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return fail(505, "this server speaks HTTP/1.1 and HTTP/1.0");
  minor_version_ = version[7] - '0';
  keep_alive_ = minor_version_ == 1;
}

bool HttpFramer::parse_field(std::string_view line, std::string_view& name, std::string_view& value) {
  if (line[0] == ' ' || line[0] == '\t') {
    fail(400, "a header line starts with a space (line folding is obsolete)");
    return false;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    fail(400, "a header field's name is malformed (a space before the colon?)");
    return false;
  }
  name = line.substr(0, colon);
  value = trim_blanks(line.substr(colon + 1));
  if (!is_field_value(value)) {
    fail(400, "a header field's value holds control characters");
    return false;
  }
  return true;
}

void HttpFramer::on_field(std::string_view line) {
  std::string_view name, value;
  if (!parse_field(line, name, value)) return;
  if (++num_fields_ > limits_.max_header_fields) {
    return fail(431, "more than " + std::to_string(limits_.max_header_fields) + " header fields");
  }
  if (state_ == State::trailers) {  // checked and dropped
    if (is_singleton(name)) fail(400, "a trailer field may not be " + std::string(name));
    return;
  }
  if (is_singleton(name) && request_.header(name)) return fail(400, "two header fields " + std::string(name));
  request_.headers.push_back({std::string(name), std::string(value)});
}

void HttpFramer::finish_head() {
  if (!check_host() || !check_body_length()) return;
  check_connection();
  if (error_.status != 0) return;
  remaining_ = content_length_;
  state_ = chunked_ ? State::chunk_size : content_length_ > 0 ? State::body : State::complete;
  request_.body.reserve(size_t(std::min<uint64_t>(content_length_, 64 << 10)));
}

bool HttpFramer::check_host() {
  const std::string* host = request_.header("Host");
  if (!host) {
    if (minor_version_ == 1) fail(400, "an HTTP/1.1 request needs a Host field");
  } else if (!is_host(*host)) {
    fail(400, "the Host field is malformed");
  } else if (!authority_.empty() && !equals_ignore_case(authority_, *host)) {
    fail(400, "the target's host and the Host field differ");
  }
  return error_.status == 0;
}

bool HttpFramer::check_body_length() {
  const std::string* length = request_.header("Content-Length");
  const std::string* coding = request_.header("Transfer-Encoding");
  if (coding) {
    if (length) fail(400, "both Content-Length and Transfer-Encoding");
    if (minor_version_ == 0) fail(400, "Transfer-Encoding in an HTTP/1.0 request");
    if (!equals_ignore_case(*coding, "chunked")) fail(400, "the only Transfer-Encoding taken is chunked");
    chunked_ = true;
  } else if (length) {
    const auto parsed = parse_content_length(*length);
    if (!parsed) {
      fail(400, "Content-Length is not a number");
    } else if (*parsed > limits_.max_body_bytes) {
      fail(413, "the body is larger than " + std::to_string(limits_.max_body_bytes) + " bytes");
    } else {
      content_length_ = *parsed;
    }
  }
  return error_.status == 0;
}

void HttpFramer::check_connection() {
  bool close = false, keep_alive = false;
  for (const HttpHeader& header : request_.headers) {
    if (!equals_ignore_case(header.name, "Connection")) continue;
    for_each_element(header.value, [&](std::string_view option) {
      close |= equals_ignore_case(option, "close");
      keep_alive |= equals_ignore_case(option, "keep-alive");
    });
  }
  keep_alive_ = !close && (minor_version_ == 1 || keep_alive);
  if (const std::string* expect = request_.header("Expect"); expect && minor_version_ == 1) {
    if (!equals_ignore_case(*expect, "100-continue")) return fail(417, "the only expectation known is 100-continue");
    expects_continue_ = has_body();
  }
}

void HttpFramer::on_chunk_size(std::string_view line) {
  const size_t end = std::min(line.find(';'), line.size());
  const auto size = parse_chunk_size(line.substr(0, end));
  if (!size) return fail(400, "a chunk size is not a hexadecimal number");
  const std::string_view extension = line.substr(end);
  extension_bytes_ += extension.size();
  if (!is_field_value(extension)) return fail(400, "a chunk extension holds control characters");
  if (extension_bytes_ > limits_.max_chunk_extension_bytes) return fail(400, "too many bytes of chunk extensions");
  if (*size == 0) {
    state_ = State::trailers;
    return;
  }
  if (*size > limits_.max_body_bytes - request_.body.size()) {
    return fail(413, "the body is larger than " + std::to_string(limits_.max_body_bytes) + " bytes");
  }
  remaining_ = *size;
  state_ = State::chunk_data;
}

}  // namespace trireme
