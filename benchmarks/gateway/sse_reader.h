#pragma once
// The clients of a benchmark: many streams of server-sent events, read by one thread with one epoll. In a process of
// its own, so that the server's CPU time is the server's.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::bench {

int64_t monotonic_ns();

// Runs the calling process on these cores only, as "1" or "0,2"; empty: anywhere.
void pin_to(const std::string& cores);

class SseReader {
 public:
  // `number`: of the event in its stream; `now_ns`: when its bytes were read; `event`: without the empty line.
  using OnEvent = std::function<void(size_t stream, size_t number, int64_t now_ns, std::string_view event)>;

  SseReader(uint16_t port, OnEvent on_event);
  ~SseReader();
  void open(std::string_view request);  // one more stream; exits the process where the server is not to be reached
  // Until every stream has ended. False: nothing came for 30 s, or a stream was not answered by 200.
  bool run();

 private:
  struct Stream {
    size_t number = 0;
    std::string carry;  // the start of an event
    size_t events = 0;
    bool answered = false;
  };

  bool take(Stream& stream, std::string_view bytes, int64_t now);

  const uint16_t port_;
  const OnEvent on_event_;
  const int epoll_;
  int open_ = 0;
  std::vector<Stream> streams_;  // by socket
};

// p50, p99, p99.9 and the largest of some delays in ns, as one line.
std::string delay_line(std::vector<int64_t> delays);

}  // namespace trireme::bench
