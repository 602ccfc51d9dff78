// From the engine's link to the client's socket: how many token events one core of the front carries, and what delay it
// adds. A null engine (a process that speaks the real protocol and emits a token of every stream in every step, with its
// plan announced before) behind the real front: link, ledger, detokenizer, JSON, server-sent events. A third process
// reads. The time of emission of every token lies in shared memory; the delay is from there to the client's read.
//   token_bench MODEL [STREAMS=64] [TOKENS_PER_STREAM=1000] [TOKENS_PER_SECOND=20000] [FRONT_CORES=] [OTHER_CORES=]
//               [IO_THREADS=2] [READERS=1]
// MODEL: a directory with a tokenizer, no weights are read. TOKENS_PER_SECOND 0: as fast as the reader takes them, with
// at most 8 steps on their way (throughput). Steps come by the clock, whatever the front does (open loop). Cores as
// "0" or "0,2", "" for any. A reader is a process that takes some 5 us an event: with one, 256 streams wait for it.
// Needs an idle machine.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "benchmarks/gateway/sse_reader.h"
#include "gateway/http/endpoints/api.h"
#include "gateway/http/http_server.h"
#include "launcher/front_loop.h"
#include "protocol/link.h"

namespace trireme::bench {
namespace {

struct Settings {
  std::string model;
  size_t streams = 64, tokens = 1000, rate = 20'000;
  int io_threads = HttpServerOptions{}.io_threads;
  size_t readers = 1;
  std::string front_cores, other_cores;
};

// What the processes share.
struct Shared {
  std::atomic<int64_t> events_read;
  std::atomic<int64_t> front_cpu_ns;  // when the first step began
  int64_t times_ns[];                 // [streams, tokens]: of emission, once read the delay
};

Shared* make_shared_memory(const Settings& settings) {
  const size_t bytes = sizeof(Shared) + settings.streams * settings.tokens * sizeof(int64_t);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) std::exit(3);
  return static_cast<Shared*>(memory);
}

int64_t cpu_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// ---- the engine

class NullEngine {
 public:
  NullEngine(const Settings& settings, Shared& shared, std::vector<int32_t> words, pid_t front)
      : settings_(settings), shared_(shared), words_(std::move(words)), front_(front) {}

  int run(const FrontEndpoint& endpoint) {
    LinkOptions options;
    options.front = endpoint;
    FrontLink link(options);
    EngineFacts facts;
    facts.vocab_size = 1 << 20;
    facts.max_model_len = int64_t(settings_.tokens) + 64;
    facts.num_slots = int32_t(settings_.streams);
    facts.num_blocks = 1 << 20;
    link.send_ready(facts);
    while (requests_.size() < settings_.streams)
      if (receive(link, std::chrono::milliseconds(20))) return 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the front's work on the prompts is done
    clockid_t front_clock{};
    ::clock_getcpuclockid(front_, &front_clock);
    shared_.front_cpu_ns = cpu_ns(front_clock);
    emit_all(link);
    while (!receive(link, std::chrono::milliseconds(20))) {
    }
    link.stop();
    return 0;
  }

 private:
  // True: told to stop.
  bool receive(FrontLink& link, std::chrono::microseconds timeout) {
    bool stop = false;
    for (EngineCommand& command : link.receive(timeout)) {
      if (const auto* submit = std::get_if<SubmitCommand>(&command)) {
        requests_.push_back(submit->request.id);
        streams_.push_back(size_t(submit->request.prompt.at(0)));  // the prompt's first id is the stream's number
      }
      stop |= std::holds_alternative<ShutdownCommand>(command);
    }
    return stop;
  }

  void emit_all(FrontLink& link) {
    const auto period = std::chrono::nanoseconds(settings_.rate ? settings_.streams * 1'000'000'000 / settings_.rate : 0);
    const auto begin = std::chrono::steady_clock::now();
    for (size_t step = 0; step < settings_.tokens; ++step) {
      if (settings_.rate > 0)
        std::this_thread::sleep_until(begin + step * period);
      else
        wait_for_reader(step);
      link.announce(int64_t(step), requests_);
      emit_step(link, step);
    }
  }

  void wait_for_reader(size_t step) const {
    while (int64_t(step) - shared_.events_read / int64_t(settings_.streams) > 8)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

  void emit_step(FrontLink& link, size_t step) {
    std::vector<EngineEvent> events;
    events.reserve(settings_.streams);
    for (size_t i = 0; i < requests_.size(); ++i) {
      TokenEvent event;
      event.request = requests_[i];
      event.index = int32_t(step);
      event.token = {words_[(step + i) % words_.size()], -1};
      event.rank = 1;
      if (step + 1 == settings_.tokens) event.finish = FinishReason::length;
      events.emplace_back(std::move(event));
    }
    const int64_t now = monotonic_ns();
    for (const size_t stream : streams_) shared_.times_ns[stream * settings_.tokens + step] = now;
    link.emit(std::move(events));
  }

  const Settings& settings_;
  Shared& shared_;
  const std::vector<int32_t> words_;  // ids whose text is plain and not empty
  const pid_t front_;
  std::vector<RequestId> requests_;
  std::vector<size_t> streams_;  // of requests_
};

// ---- the clients

std::string request_of(const Settings& settings, size_t stream) {
  const std::string body = "{\"prompt\":[" + std::to_string(stream) + ",1,2,3],\"stream\":true,\"ignore_eos\":true,\"max_tokens\":" +
                           std::to_string(settings.tokens) + "}";
  return "POST /v1/completions HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

int read_all(const Settings& settings, Shared& shared, uint16_t port, size_t number) {
  size_t count = 0, asked = 0;
  std::vector<size_t> streams;
  SseReader reader(port, [&](size_t stream, size_t event, int64_t now, std::string_view) {
    if (event >= settings.tokens) return;  // [DONE]
    int64_t& time = shared.times_ns[streams[stream] * settings.tokens + event];
    time = now - time;
    ++count;
    shared.events_read.fetch_add(1, std::memory_order_relaxed);
  });
  for (size_t i = number; i < settings.streams; i += settings.readers, ++asked) {
    streams.push_back(i);
    reader.open(request_of(settings, i));
  }
  if (reader.run() && count == asked * settings.tokens) return 0;
  std::printf("read %zu events of %zu\n", count, asked * settings.tokens);
  return 3;
}

// ---- the front

class BenchAttempt final : public EngineAttempt, public EngineHost {
 public:
  BenchAttempt(const std::string& path, uint32_t attempt, int to_engine) : client_(listening(path, attempt)) {
    const std::string line = endpoint_text(client_.endpoint());
    if (::write(to_engine, line.data(), line.size()) != ssize_t(line.size())) std::exit(3);
    ::close(to_engine);
  }
  EngineClient& client() override { return client_; }
  EngineHost& host() override { return *this; }
  std::optional<HostTrouble> trouble() override { return std::nullopt; }
  bool wait_for_end(Duration) override { return true; }
  void kill() override {}

 private:
  static EngineClientOptions listening(const std::string& path, uint32_t attempt) {
    EngineClientOptions options;
    options.listen_address = "unix:" + path;
    options.attempt = attempt;
    return options;
  }
  EngineClient client_;
};

std::vector<int32_t> plain_words(const Tokenizer& tokenizer) {
  std::vector<int32_t> words;
  for (int32_t id = 0; id < tokenizer.vocab_size() && words.size() < 1000; ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    const bool plain = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= ' ' && c < 127; });
    if (!bytes.empty() && plain && !tokenizer.is_special(id)) words.push_back(id);
  }
  return words;
}

void report(const Settings& settings, const Shared& shared, int64_t cpu_end, double wall_s) {
  const double events = double(settings.streams * settings.tokens);
  const double cpu_s = double(cpu_end - shared.front_cpu_ns) / 1e9;
  std::vector<int64_t> delays(shared.times_ns, shared.times_ns + settings.streams * settings.tokens);
  std::printf("delay from the engine's emit() to the client's read: %s\n", delay_line(std::move(delays)).c_str());
  std::printf("%zu streams x %zu tokens at %zu/s: %.0f events/s per core of the front (%.2f us of CPU each), wall %.0f events/s\n",
              settings.streams, settings.tokens, settings.rate, events / cpu_s, cpu_s / events * 1e6, events / wall_s);
}

int serve(const Settings& settings, const Shared& shared, const ModelAssets& assets, int to_engine, int to_readers,
          const std::vector<pid_t>& readers) {
  pin_to(settings.front_cores);
  ServeJob job(assets, {});
  HttpServerOptions options;
  options.port = 0;
  options.io_threads = settings.io_threads;
  HttpServer server(options, make_api_routes(job, assets, {}));
  server.start();
  int status = 1;
  std::thread watcher([&] {
    while (job.status().phase != ServePhase::ready) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const uint16_t port = server.port();
    const std::vector<uint16_t> ports(readers.size(), port);
    if (::write(to_readers, ports.data(), ports.size() * sizeof(port)) < 0) std::exit(3);
    const int64_t begin = monotonic_ns();
    status = 0;
    for (const pid_t reader : readers) {
      int ended = 1;
      ::waitpid(reader, &ended, 0);
      status |= ended;
    }
    if (status == 0) report(settings, shared, cpu_ns(CLOCK_PROCESS_CPUTIME_ID), double(monotonic_ns() - begin) / 1e9);
    job.drain();
  });
  const std::string path = std::filesystem::temp_directory_path() / ("token_bench_" + std::to_string(::getpid()));
  ::unlink(path.c_str());
  run_front([&](uint32_t attempt) { return std::make_unique<BenchAttempt>(path, attempt, to_engine); }, job, {});
  watcher.join();
  ::unlink(path.c_str());
  return status;
}

template <typename Run>
pid_t child(const Settings& settings, Run run) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  die_with_parent();
  pin_to(settings.other_cores);
  const int status = run();
  std::fflush(stdout);
  ::_exit(status);
}

int run(const Settings& settings) {
  const ModelAssets assets = open_model_assets(settings.model, true);
  Shared& shared = *make_shared_memory(settings);
  int to_engine[2], to_readers[2];
  if (::pipe(to_engine) != 0 || ::pipe(to_readers) != 0) return 3;
  const pid_t front = ::getpid();
  child(settings, [&] {  // both before any thread
    ::close(to_engine[1]);
    std::string line;
    char bytes[256];
    for (ssize_t count; (count = ::read(to_engine[0], bytes, sizeof(bytes))) > 0;) line.append(bytes, size_t(count));
    return NullEngine(settings, shared, plain_words(*assets.tokenizer), front).run(parse_endpoint(line));
  });
  std::vector<pid_t> readers;
  for (size_t number = 0; number < settings.readers; ++number)
    readers.push_back(child(settings, [&] {
      ::close(to_engine[1]);
      uint16_t port = 0;
      if (::read(to_readers[0], &port, sizeof(port)) != sizeof(port)) return 3;
      return read_all(settings, shared, port, number);
    }));
  return serve(settings, shared, assets, to_engine[1], to_readers[1], readers);
}

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  using namespace trireme;
  if (argc < 2) {
    std::fprintf(stderr, "token_bench MODEL [STREAMS] [TOKENS_PER_STREAM] [TOKENS_PER_SECOND] [FRONT_CORES] [OTHER_CORES] [IO_THREADS] [READERS]\n");
    return 2;
  }
  bench::Settings settings;
  settings.model = argv[1];
  if (argc > 2) settings.streams = size_t(std::atoi(argv[2]));
  if (argc > 3) settings.tokens = size_t(std::atoi(argv[3]));
  if (argc > 4) settings.rate = size_t(std::atoi(argv[4]));
  if (argc > 5) settings.front_cores = argv[5];
  if (argc > 6) settings.other_cores = argv[6];
  if (argc > 7) settings.io_threads = std::atoi(argv[7]);
  if (argc > 8) settings.readers = size_t(std::max(std::atoi(argv[8]), 1));
  return bench::run(settings);
}
