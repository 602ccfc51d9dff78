// What rank 0's engine thread costs per decode step where everything but the model is real: loop, scheduler, link to a
// front in another process, and the hand-over to an executor whose thread answers STEP_MS after it took a plan. Beside
// scheduler_bench's warm loop this shows what sleeping between steps adds: system calls, wake-ups, cold caches.
//   engine_bench [SEQUENCES=256] [STEP_MS=12] [STEPS=300]
// Prints microseconds of the engine thread's CPU per step, by the call it was spent in.

#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "coordinator/engine.h"
#include "gateway/engine_client.h"
#include "protocol/link.h"

namespace trireme {
namespace {

constexpr int32_t kPromptTokens = 448, kVocab = 128256;

struct Settings {
  int32_t sequences = 256;
  double step_ms = 12;
  int64_t steps = 300;
};

// Seconds of the calling thread's CPU within a scope, added to `sum`.
class CpuScope {
 public:
  explicit CpuScope(double& sum) : sum_(sum), begin_(thread_cpu_seconds()) {}
  ~CpuScope() { sum_ += thread_cpu_seconds() - begin_; }

 private:
  double& sum_;
  double begin_;
};

struct Parts {
  double receive = 0, announce = 0, emit = 0, submit = 0, wait = 0;
  double sum() const { return receive + announce + emit + submit + wait; }
};

ClusterInfo cluster_of(int32_t sequences) {
  ClusterInfo info;
  info.num_slots = sequences;
  info.max_batched_tokens = 8192;
  info.max_logit_rows = sequences;
  info.max_model_len = 16384;
  info.max_blocks_per_slot = 1025;
  info.vocab_size = kVocab;
  info.groups = {{16, sequences * 300, 0}};
  return info;
}

// One thread beside the engine's, as the worker is: takes plans in order, each for STEP_MS.
class SleepingExecutor final : public Executor {
 public:
  SleepingExecutor(const Settings& settings, Parts& parts)
      : settings_(settings), parts_(parts), info_(cluster_of(settings.sequences)), thread_([this] { run(); }) {}
  ~SleepingExecutor() override { thread_.join(); }

  const ClusterInfo& info() const override { return info_; }
  void submit(StepPlan plan) override {
    const CpuScope scope(parts_.submit);
    std::lock_guard lock(mutex_);
    plans_.push_back(std::move(plan));
    submitted_.notify_one();
  }
  void submit_sampling(SamplingOrders) override {}
  bool ready(StepId) override { return false; }
  StepResult wait(StepId step) override {
    const CpuScope scope(parts_.wait);
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return !results_.empty(); });
    StepResult result = std::move(results_.front());
    results_.pop_front();
    CHECK_EQ(result.step, step);
    return result;
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      submitted_.wait(lock, [this] { return !plans_.empty(); });
      const StepPlan plan = std::move(plans_.front());
      plans_.pop_front();
      lock.unlock();
      if (plan.shutdown) return;
      std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(settings_.step_ms));
      StepResult result = result_of(plan);
      lock.lock();
      results_.push_back(std::move(result));
      finished_.notify_one();
    }
  }
  static StepResult result_of(const StepPlan& plan) {
    StepResult result{.step = plan.step, .outputs = {}, .device_ms = 0};
    for (size_t i = 0; i < plan.outputs.size(); ++i) {
      OutputResult& output = result.outputs.emplace_back();
      output.token = {TokenId((plan.step * 31 + int64_t(i)) % kVocab), -1.5f};
      output.rank = 1;
    }
    return result;
  }

  const Settings& settings_;
  Parts& parts_;
  ClusterInfo info_;
  std::mutex mutex_;
  std::condition_variable submitted_, finished_;
  std::deque<StepPlan> plans_;
  std::deque<StepResult> results_;
  std::thread thread_;
};

class TimedPort final : public EnginePort {
 public:
  TimedPort(EnginePort& port, Parts& parts) : port_(port), parts_(parts) {}
  std::vector<EngineCommand> receive(std::chrono::microseconds timeout) override {
    const CpuScope scope(parts_.receive);
    return port_.receive(timeout);
  }
  void emit(std::vector<EngineEvent> events) override {
    const CpuScope scope(parts_.emit);
    port_.emit(std::move(events));
  }
  void announce(int64_t step, std::span<const RequestId> requests) override {
    const CpuScope scope(parts_.announce);
    port_.announce(step, requests);
  }

 private:
  EnginePort& port_;
  Parts& parts_;
};

// The other process: asks for all sequences, reads every event, ends the engine when told enough.
int run_front(const Settings& settings, const std::string& path, int to_engine) {
  EngineClientOptions options;
  options.listen_address = "unix:" + path;
  EngineClient client(options);
  const std::string line = endpoint_text(client.endpoint());
  if (::write(to_engine, line.data(), line.size()) != ssize_t(line.size())) return 3;
  ::close(to_engine);
  for (int32_t i = 0; i < settings.sequences; ++i) {
    Request request;
    request.id = RequestId(i + 1);
    for (int32_t t = 0; t < kPromptTokens; ++t) request.prompt.push_back((i * 7919 + t * 104729) % kVocab);
    request.sampling.max_new_tokens = int32_t(settings.steps) + 100;
    request.sampling.ignore_eos = true;
    client.submit(std::move(request));
  }
  client.shutdown(true);
  for (;;)
    for (const ClientEvent& event : client.poll(std::chrono::milliseconds(100))) {
      if (std::holds_alternative<EngineStopped>(event)) return 0;
      if (const auto* fault = std::get_if<EngineFault>(&event)) {
        std::fprintf(stderr, "%s\n", fault->summary.c_str());
        return 1;
      }
    }
}

void report(const Settings& settings, const Parts& parts, double cpu_s) {
  const double us = 1e6 / double(settings.steps);
  std::printf("%d sequences, %.1f ms: %.1f us a step (receive %.1f, announce %.1f, submit %.1f, wait %.1f, emit %.1f, "
              "scheduler and results %.1f)\n",
              settings.sequences, settings.step_ms, cpu_s * us, parts.receive * us, parts.announce * us,
              parts.submit * us, parts.wait * us, parts.emit * us, (cpu_s - parts.sum()) * us);
  std::fflush(stdout);
}

void run_engine(const Settings& settings, const std::string& endpoint) {
  LinkOptions options;
  options.front = parse_endpoint(endpoint);
  FrontLink link(options);
  link.send_ready({});
  Parts parts;
  {
    SleepingExecutor executor(settings, parts);
    TimedPort port(link, parts);
    SteadyClock clock;
    Engine engine(port, executor, clock, {.prefill_chunk = 0});
    const auto decodes = [&] { return engine.scheduler().stats().generated_tokens / settings.sequences; };
    while (decodes() < 50 && engine.step()) {
    }
    parts = {};
    const int64_t first = engine.scheduler().stats().steps;
    const double begin = thread_cpu_seconds();
    while (engine.scheduler().stats().steps < first + settings.steps && engine.step()) {
    }
    report(settings, parts, thread_cpu_seconds() - begin);
    engine.run();
  }
  link.stop();
}

int run(const Settings& settings) {
  const std::string path = std::filesystem::temp_directory_path() / ("engine_bench_" + std::to_string(::getpid()));
  int to_engine[2];
  if (::pipe(to_engine) != 0) return 3;
  const pid_t front = ::fork();  // before any thread
  if (front == 0) {
    die_with_parent();
    ::close(to_engine[0]);
    ::_exit(run_front(settings, path, to_engine[1]));
  }
  ::close(to_engine[1]);
  std::string endpoint;
  char bytes[256];
  for (ssize_t count; (count = ::read(to_engine[0], bytes, sizeof(bytes))) > 0;) endpoint.append(bytes, size_t(count));
  run_engine(settings, endpoint);
  int status = 1;
  ::waitpid(front, &status, 0);
  ::unlink(path.c_str());
  return status;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  trireme::Settings settings;
  if (argc > 1) settings.sequences = std::atoi(argv[1]);
  if (argc > 2) settings.step_ms = std::atof(argv[2]);
  if (argc > 3) settings.steps = std::atoll(argv[3]);
  return trireme::run(settings);
}
