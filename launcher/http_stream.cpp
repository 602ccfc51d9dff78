#include "launcher/http_stream.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/error.h"

namespace trireme {
namespace {

constexpr size_t kMaxHeadBytes = 64 << 10, kMaxChunkLine = 1 << 10, kMaxEventBytes = 16 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

uint64_t parse_size(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || rest != text.data() + text.size())
    throw Error("the server's answer has a bad length: " + std::string(text.substr(0, 40)));
  return value;
}

}  // namespace

// Moves bytes into line_ up to a line feed; true when there was one. line_ then lacks its end.
bool HttpResponseReader::take_line(std::string_view& bytes, size_t most) {
  const size_t end = bytes.find('\n');
  line_ += bytes.substr(0, end);
  if (line_.size() > most) throw Error("the server's answer has a header line that is too long");
  bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  if (end == std::string_view::npos) return false;
  if (!line_.empty() && line_.back() == '\r') line_.pop_back();
  return true;
}

void HttpResponseReader::feed(std::string_view bytes, const BodySink& sink) {
  while (!bytes.empty() && state_ != State::complete) {
    switch (state_) {
      case State::head:
        if (take_line(bytes, kMaxHeadBytes)) on_head_line();
        break;
      case State::length:
      case State::chunk:
      case State::until_close: {
        const size_t count =
            state_ == State::until_close ? bytes.size() : size_t(std::min<uint64_t>(left_, bytes.size()));
        sink(bytes.substr(0, count));
        bytes.remove_prefix(count);
        if (state_ == State::until_close) break;
        left_ -= count;
        if (left_ == 0) state_ = state_ == State::length ? State::complete : State::chunk_end;
        break;
      }
      case State::chunk_size:
        if (take_line(bytes, kMaxChunkLine)) begin_chunk();
        break;
      case State::chunk_end:
        if (!take_line(bytes, kMaxChunkLine)) break;
        if (!line_.empty()) throw Error("the server's answer has a chunk longer than its size");
        state_ = State::chunk_size;
        break;
      case State::trailer:
        if (!take_line(bytes, kMaxHeadBytes)) break;
        if (line_.empty()) state_ = State::complete;
        line_.clear();
        break;
      case State::complete:
        break;
    }
  }
}

void HttpResponseReader::on_head_line() {
  const std::string line = std::exchange(line_, "");
  if ((head_bytes_ += line.size() + 2) > kMaxHeadBytes) throw Error("the server's answer has too long a header");
  if (status_ == 0) {
    if (line.rfind("HTTP/1.", 0) != 0 || line.size() < 12)
      throw Error("no HTTP/1.x server: it answers " + line.substr(0, 60));
    status_ = int(parse_size(line.substr(9, 3), 10));
    return;
  }
  if (line.empty()) return begin_body();
  const size_t colon = line.find(':');
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value =
      colon == std::string::npos ? std::string_view() : trimmed(std::string_view(line).substr(colon + 1));
  if (name == "transfer-encoding") chunked_ = lower(value) == "chunked";
  if (name == "content-length") {
    left_ = parse_size(value, 10);
    has_length_ = true;
  }
}

void HttpResponseReader::begin_body() {
  if (status_ >= 100 && status_ < 200) {  // 100 Continue: the answer proper follows
    status_ = 0;
    return;
  }
  if (chunked_)
    state_ = State::chunk_size;
  else if (has_length_ || status_ == 204 || status_ == 304)
    state_ = left_ > 0 && has_length_ ? State::length : State::complete;
  else
    state_ = State::until_close;
}

void HttpResponseReader::begin_chunk() {
  const std::string line = std::exchange(line_, "");
  left_ = parse_size(trimmed(std::string_view(line).substr(0, line.find(';'))), 16);
  state_ = left_ == 0 ? State::trailer : State::chunk;
}

void HttpResponseReader::on_close() {
  if (state_ == State::until_close) state_ = State::complete;
  if (state_ == State::complete) return;
  throw Error(status_ == 0 ? "the server closed the connection without an answer"
                           : "the server closed the connection in the middle of its answer");
}

void SseReader::feed(std::string_view bytes, const EventSink& sink) {
  for (char c : bytes) {
    if (c != '\n') {
      line_ += c;
      continue;
    }
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    on_line(sink);
    line_.clear();
  }
  if (line_.size() + data_.size() > kMaxEventBytes) throw Error("the server sent an event above 16 MiB");
}

void SseReader::on_line(const EventSink& sink) {
  if (line_.empty()) {
    if (has_data_) sink(data_);
    data_.clear();
    has_data_ = false;
  } else if (line_.rfind("data:", 0) == 0) {
    if (has_data_) data_ += '\n';
    data_ += std::string_view(line_).substr(line_.size() > 5 && line_[5] == ' ' ? 6 : 5);
    has_data_ = true;
  }
}

}  // namespace trireme
