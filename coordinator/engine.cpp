#include "coordinator/engine.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/profiler.h"

namespace trireme {
namespace {

constexpr std::chrono::milliseconds kStatsPeriod{100};
constexpr std::chrono::milliseconds kIdleWait{100};

}  // namespace

Engine::Engine(EnginePort& port, Executor& executor, const Clock& clock, const SchedulerOptions& options,
               PlantedFault fault)
    : port_(port),
      executor_(executor),
      clock_(clock),
      scheduler_(executor.info(), options, fault),
      next_stats_(clock.now() + kStatsPeriod) {}

void Engine::run() {
  while (step()) {
  }
}

// Plans are submitted until the pipeline is full or nothing more can run; only then does the loop wait for the
// oldest result. What it does never depends on when a result happens to be ready.
bool Engine::step() {
  if (finished_) return false;
  accept();
  const bool submitted = submit_next_plan();
  const bool full = int(in_flight_.size()) >= executor_.info().max_in_flight();
  if (!in_flight_.empty() && (full || !submitted)) retire_oldest();
  emit();
  if (stopping_ && in_flight_.empty() && !scheduler_.has_unfinished()) finish();
  return !finished_;
}

void Engine::accept() {
  std::vector<EngineCommand> commands = port_.receive(time_to_wait());
  scheduler_.set_now(clock_.now());
  for (EngineCommand& command : commands) {
    std::visit([this](auto& content) { accept_command(content); }, command);
  }
}

// Until a command comes, when nothing can run before; a batch that waits for more requests starts in time.
std::chrono::microseconds Engine::time_to_wait() const {
  using std::chrono::microseconds;
  if (!in_flight_.empty() || stopping_) return microseconds(0);
  if (!scheduler_.has_unfinished()) return kIdleWait;
  const auto due = scheduler_.waits_until();
  if (!due) return microseconds(0);
  const auto left = std::chrono::ceil<microseconds>(*due - clock_.now());
  return std::clamp(left, microseconds(0), microseconds(kIdleWait));
}

void Engine::accept_command(SubmitCommand& command) {
  const RequestId id = command.request.id;
  if (stopping_) return scheduler_.refuse(id, "the engine is shutting down: send the request again", false);
  try {
    validate(command.request, executor_.info().vocab_size, executor_.info().max_model_len);
  } catch (const RequestError& error) {
    return scheduler_.refuse(id, error.what(), true);
  }
  scheduler_.add(std::move(command.request));
}

void Engine::accept_command(const CancelCommand& command) { scheduler_.cancel(command.request, command.choice); }

void Engine::accept_command(const ShutdownCommand& command) {
  stopping_ = true;
  scheduler_.drain();
  if (!command.drain) scheduler_.cancel_all();
}

std::optional<StepPlan> Engine::next_plan() {
  const HostSpan span("schedule", kEngineLane);
  return scheduler_.next_plan();
}

bool Engine::submit_next_plan() {
  auto plan = next_plan();
  if (!plan) {
    CHECK(!in_flight_.empty() || !scheduler_.has_unfinished() || scheduler_.waits_until())
        << "requests wait, and nothing can ever run";
    return false;
  }
  const HostSpan span("submit", kEngineLane);
  port_.announce(plan->step, scheduler_.planned_requests());
  in_flight_.push_back(plan->step);
  executor_.submit(std::move(*plan));
  pass_on_sampling();
  return true;
}

void Engine::retire_oldest() {
  const StepResult result = [this] {
    const HostSpan span("wait", kEngineLane);
    return executor_.wait(in_flight_.front());
  }();
  const HostSpan span("take result", kEngineLane);
  in_flight_.pop_front();
  scheduler_.on_result(result);
  pass_on_sampling();
}

void Engine::pass_on_sampling() {
  for (SamplingOrders& orders : scheduler_.take_sampling_orders()) executor_.submit_sampling(std::move(orders));
}

EngineStats Engine::stats() const {
  EngineStats stats = scheduler_.stats();
  stats.engine_cpu_seconds = clock_.thread_cpu_seconds();
  return stats;
}

// Statistics come before the events that end the last request: who measures by these has both.
void Engine::emit() {
  const HostSpan span("emit", kEngineLane);
  std::vector<EngineEvent> events = scheduler_.take_events();
  if (clock_.now() >= next_stats_ || (!events.empty() && !scheduler_.has_unfinished())) {
    events.insert(events.begin(), stats());
    next_stats_ = clock_.now() + kStatsPeriod;
  }
  if (!events.empty()) port_.emit(std::move(events));
}

// Every result has arrived: the ranks have nothing left to do but to return.
void Engine::finish() {
  StepPlan last;
  last.step = scheduler_.next_step();
  last.draws_needed = last.step - 1;
  last.shutdown = true;
  executor_.submit(std::move(last));
  std::vector<EngineEvent> events;
  events.emplace_back(stats());
  port_.emit(std::move(events));
  finished_ = true;
}

}  // namespace trireme
