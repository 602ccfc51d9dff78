// How many server-sent events one core carries, and what delay the HTTP layer adds. A null source writes events of a
// given size to every stream, as an engine's steps do; a forked process reads them.
//   sse_bench [STREAMS=256] [EVENTS_PER_STREAM=400] [BYTES=200] [STEP_MICROSECONDS=0] [IO_THREADS=1]
// STEP 0 writes as fast as streams take it (throughput); a step of 10000 or more shows the added latency unloaded.
// "server threads" is the process's CPU time less the source thread's; with the kernel's work for sending in it.
// The whole path from the engine's link on: token_bench.

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/gateway/sse_reader.h"
#include "gateway/http/http_server.h"

namespace {

using namespace trireme;
using bench::monotonic_ns;

struct Settings {
  int streams = 256, events = 400, bytes = 200, step_us = 0, io_threads = 1;
};

int64_t cpu_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// The reading process. Every event begins with the time it was written.
int read_all(const Settings& settings, uint16_t port) {
  std::vector<int64_t> delays;  // ns
  bench::SseReader reader(port, [&](size_t, size_t, int64_t now, std::string_view event) {
    int64_t written = 0;
    std::from_chars(event.data(), event.data() + event.size(), written);
    delays.push_back(now - written);
  });
  for (int i = 0; i < settings.streams; ++i)
    reader.open("GET /stream HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
  if (!reader.run()) return 3;
  if (delays.size() != size_t(settings.streams) * size_t(settings.events)) {
    std::printf("read %zu events\n", delays.size());
    return 3;
  }
  std::printf("delay from write() to the client's read: %s\n", bench::delay_line(std::move(delays)).c_str());
  return 0;
}

// ---- the serving process

struct Streams {
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> all;
};

std::string event_of(int bytes) {
  std::string event = "data: " + std::to_string(monotonic_ns()) + " ";
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
  const int64_t process = cpu_ns(CLOCK_PROCESS_CPUTIME_ID), wall = monotonic_ns();
  const int64_t source = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
  write_events(settings, streams.all);
  int status = 0;
  ::waitpid(reader, &status, 0);
  const double wall_s = double(monotonic_ns() - wall) / 1e9;
  const double source_s = double(cpu_ns(CLOCK_THREAD_CPUTIME_ID) - source) / 1e9;
  const double server_s = double(cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - process) / 1e9 - source_s;
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
    const int status = read_all(settings, server.port());
    std::fflush(stdout);
    ::_exit(status);  // the server, with its epoll, is the parent's
  }
  server.start();
  return serve(server, settings, *streams, reader);
}
