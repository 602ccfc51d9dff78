#pragma once
// What an HTTP/1.1 client reads, as pure state machines: feed bytes, take what is complete. They never wait.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace trireme {

// One response. Throws Error for what is not HTTP/1.x or beyond its bounds (64 KiB of header, 1 KiB per chunk line).
class HttpResponseReader {
 public:
  using BodySink = std::function<void(std::string_view)>;
  void feed(std::string_view bytes, const BodySink& sink);
  void on_close();  // end of file: ends a body without a length; elsewhere throws Error
  bool complete() const { return state_ == State::complete; }
  bool has_head() const { return state_ > State::head; }
  int status() const { return status_; }

 private:
  enum class State : uint8_t { head, length, until_close, chunk_size, chunk, chunk_end, trailer, complete };
  bool take_line(std::string_view& bytes, size_t most);
  void on_head_line();
  void begin_body();
  void begin_chunk();

  State state_ = State::head;
  std::string line_;
  size_t head_bytes_ = 0;
  int status_ = 0;
  bool chunked_ = false, has_length_ = false;
  uint64_t left_ = 0;  // of the body or the chunk
};

// The data of server-sent events, joined by newlines where an event has several lines. Comments and other fields go.
class SseReader {
 public:
  using EventSink = std::function<void(std::string_view)>;
  void feed(std::string_view bytes, const EventSink& sink);  // throws Error beyond 16 MiB of one event

 private:
  void on_line(const EventSink& sink);
  std::string line_, data_;
  bool has_data_ = false;
};

}  // namespace trireme
