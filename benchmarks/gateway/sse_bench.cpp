// How many server-sent events one core carries, and what delay the HTTP layer adds. A null source writes events of a
// given size to every stream, as an engine's steps do; a forked process reads them.
//   sse_bench [STREAMS=256] [EVENTS_PER_STREAM=400] [BYTES=200] [STEP_MICROSECONDS=0] [IO_THREADS=1]
// STEP 0 writes as fast as streams take it (throughput); a step of 10000 or more shows the added latency unloaded.
// "server threads" is the process's CPU time less the source thread's; with the kernel's work for sending in it.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gateway/http/http_server.h"

namespace {

using namespace trireme;

struct Settings {
  int streams = 256, events = 400, bytes = 200, step_us = 0, io_threads = 1;
};

int64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// ---- the reading process

class Reader {
 public:
  Reader(const Settings& settings, uint16_t port) : settings_(settings), epoll_(::epoll_create1(0)) {
    for (int i = 0; i < settings.streams; ++i) dial(port);
  }

  void run() {
    int open = dialled_;
    std::vector<char> bytes(256 << 10);
    epoll_event events[256];
    while (open > 0) {
      const int count = ::epoll_wait(epoll_, events, 256, 30'000);
      if (count <= 0) {
        std::printf("nothing to read for 30 s, %d streams open\n", open);
        std::exit(3);
      }
      for (int i = 0; i < count; ++i) {
        const ssize_t size = ::recv(events[i].data.fd, bytes.data(), bytes.size(), 0);
        if (size > 0) {
          take(carries_[size_t(events[i].data.fd)], {bytes.data(), size_t(size)});
        } else {
          ::close(events[i].data.fd);
          --open;
        }
      }
    }
    report();
  }

 private:
  void dial(uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    static constexpr std::string_view kRequest = "GET /stream HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        ::send(socket, kRequest.data(), kRequest.size(), 0) != ssize_t(kRequest.size())) {
      std::exit(3);
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
    if (carries_.size() <= size_t(socket)) carries_.resize(size_t(socket) + 1);
    ++dialled_;
  }

  // Every event begins "data: " and the time it was written.
  void take(std::string& carry, std::string_view bytes) {
    carry.append(bytes);
    const int64_t now = clock_ns(CLOCK_MONOTONIC);
    size_t done = 0;
    for (size_t end; (end = carry.find("\n\n", done)) != std::string::npos; done = end + 2) {
      const size_t mark = carry.find("data: ", done);
      int64_t written = 0;
      if (mark < end) std::from_chars(carry.data() + mark + 6, carry.data() + end, written);
      if (written > 0) delays_.push_back(now - written);
    }
    carry.erase(0, done);
  }

  void report() {
    const size_t wanted = size_t(settings_.streams) * size_t(settings_.events);
    if (delays_.size() != wanted) {
      std::printf("read %zu events of %zu\n", delays_.size(), wanted);
      std::exit(3);
    }
    std::sort(delays_.begin(), delays_.end());
    const auto at = [&](double part) { return double(delays_[size_t(double(delays_.size() - 1) * part)]) / 1e3; };
    std::printf("delay from write() to the client's read: p50 %.0f us, p99 %.0f us, max %.0f us\n", at(0.5), at(0.99), at(1));
  }

  const Settings settings_;
  int epoll_, dialled_ = 0;
  std::vector<std::string> carries_;  // by socket: the start of an event
  std::vector<int64_t> delays_;       // ns
};

// ---- the serving process

struct Streams {
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> all;
};

std::string event_of(int bytes) {
  std::string event = "data: " + std::to_string(clock_ns(CLOCK_MONOTONIC)) + " ";
  event.resize(size_t(std::max(bytes - 2, int(event.size()))), 'x');
  return event + "\n\n";
}

void write_events(const Settings& settings, const std::vector<std::shared_ptr<Exchange>>& streams) {
  auto next = std::chrono::steady_clock::now();
  for (int i = 0; i < settings.events; ++i) {
    for (const auto& stream : streams) {
      // A source faster than the reader waits, so that nobody is cut.
      while (stream->unsent_bytes() > (64 << 10)) std::this_thread::sleep_for(std::chrono::microseconds(50));
      stream->write(event_of(settings.bytes));
    }
    next += std::chrono::microseconds(settings.step_us);
    if (settings.step_us > 0) std::this_thread::sleep_until(next);
  }
  for (const auto& stream : streams) stream->end_stream();
}

int serve(HttpServer& server, const Settings& settings, Streams& streams, pid_t reader) {
  for (size_t count = 0; count < size_t(settings.streams);) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::lock_guard lock(streams.mutex);
    count = streams.all.size();
  }
  const int64_t process = clock_ns(CLOCK_PROCESS_CPUTIME_ID), wall = clock_ns(CLOCK_MONOTONIC);
  const int64_t source = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  write_events(settings, streams.all);
  int status = 0;
  ::waitpid(reader, &status, 0);
  const double wall_s = double(clock_ns(CLOCK_MONOTONIC) - wall) / 1e9;
  const double source_s = double(clock_ns(CLOCK_THREAD_CPUTIME_ID) - source) / 1e9;
  const double server_s = double(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process) / 1e9 - source_s;
  const double events = double(settings.streams) * settings.events;
  std::printf("%d streams x %d events of %d bytes, %d I/O thread(s), step %d us\n", settings.streams, settings.events,
              settings.bytes, settings.io_threads, settings.step_us);
  std::printf("%.0f events/s per core of the server threads; with the source's write() calls %.0f; wall %.0f events/s\n",
              events / server_s, events / (server_s + source_s), events / wall_s);
  std::printf("%llu bytes sent, %zu streams cut\n", static_cast<unsigned long long>(server.counters().bytes_out),
              size_t(server.counters().slow_readers_cut));
  if (status != 0) std::printf("the reader failed: status 0x%x\n", unsigned(status));
  return status == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  int* const fields[] = {&settings.streams, &settings.events, &settings.bytes, &settings.step_us, &settings.io_threads};
  for (int i = 1; i < argc && i <= 5; ++i) *fields[i - 1] = std::atoi(argv[i]);
  HttpServerOptions options;
  options.port = 0;
  options.io_threads = settings.io_threads;
  auto streams = std::make_shared<Streams>();
  const Handler handler = [streams](std::shared_ptr<Exchange> exchange) {
    exchange->begin_stream(200, "text/event-stream");
    std::lock_guard lock(streams->mutex);
    streams->all.push_back(std::move(exchange));
  };
  HttpServer server(options, {{"GET", "/stream", Access::open, handler}});
  const pid_t reader = ::fork();  // before any thread
  if (reader == 0) {
    Reader(settings, server.port()).run();
    std::fflush(stdout);
    ::_exit(0);  // the server, with its epoll, is the parent's
  }
  server.start();
  return serve(server, settings, *streams, reader);
}
