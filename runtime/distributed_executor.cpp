#include "runtime/distributed_executor.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "parallel/plan/codec.h"

namespace trireme {

namespace {

// Returns the seconds this thread computed.
double run_plan(Worker& worker, const StepPlan& plan, const std::function<SamplingOrders()>& sampling_orders,
                StepProfiler* profiler) {
  if (profiler) profiler->before_step(plan, worker.stream());
  const double before = thread_cpu_seconds();
  {
    const HostSpan span("execute", kWorkerLane);
    worker.execute(plan, sampling_orders);
  }
  const double used = thread_cpu_seconds() - before;
  if (profiler) profiler->after_step(plan, worker.stream());
  return used;
}

// status: not 0 (PeerSums::status).
std::string void_step(int32_t status, StepId step) {
  return fmt::format("step {} is void: tensor-parallel rank {} did not come to a sum or a draw in time", step,
                     status - 1);
}

}  // namespace

DistributedExecutor::DistributedExecutor(Worker& worker, ControlChannel& control, const ClusterInfo& info,
                                         StepProfiler* profiler)
    : worker_(worker),
      control_(control),
      info_(info),
      profiler_(profiler),
      health_([&worker] { worker.check_health(); }) {}

void DistributedExecutor::submit(StepPlan plan) {
  std::lock_guard lock(mutex_);
  CHECK_EQ(plan.step, last_submitted_ + 1) << "plans are consecutive";
  CHECK_LT(int(results_.size() + new_plans_.size()), info_.max_in_flight() + 1) << "plans in flight";
  last_submitted_ = plan.step;
  new_plans_.push_back(std::move(plan));
  submitted_.notify_one();
}

void DistributedExecutor::submit_sampling(SamplingOrders orders) {
  std::lock_guard lock(mutex_);
  CHECK_LE(orders.step, last_submitted_) << "sampling orders of a step not submitted";
  new_sampling_.push_back(std::move(orders));
  submitted_.notify_one();
}

bool DistributedExecutor::ready(StepId step) {
  std::lock_guard lock(mutex_);
  return results_.contains(step);
}

StepResult DistributedExecutor::wait(StepId step) {
  std::unique_lock lock(mutex_);
  CHECK_LE(step, last_submitted_) << "wait for a step not submitted";
  finished_.wait(lock, [&] { return results_.contains(step); });
  StepResult result = std::move(results_.at(step));
  results_.erase(step);
  return result;
}

void DistributedExecutor::pump() {
  std::deque<StepPlan> plans;
  std::deque<SamplingOrders> sampling;
  {
    std::lock_guard lock(mutex_);
    plans.swap(new_plans_);
    sampling.swap(new_sampling_);
  }
  for (StepPlan& plan : plans) {
    const HostSpan span("encode", kWorkerLane);
    if (info_.world > 1) control_.broadcast({ControlKind::plan, encode_plan(plan)});
    plans_.push_back(std::move(plan));
  }
  for (SamplingOrders& orders : sampling) {
    if (info_.world > 1) control_.broadcast({ControlKind::sampling, encode_sampling_orders(orders)});
    sampling_.emplace(orders.step, std::move(orders));
  }
  control_.pump();
}

// The engine may need the results of earlier steps before it can say what this one's sampling needs: they go on
// being collected.
SamplingOrders DistributedExecutor::wait_for_sampling(StepId step) {
  const double cpu = thread_cpu_seconds();
  poll_with_backoff([&] {
    pump();
    collect();
    return sampling_.contains(step);
  });
  sampling_wait_cpu_ += thread_cpu_seconds() - cpu;
  SamplingOrders orders = std::move(sampling_.at(step));
  sampling_.erase(step);
  return orders;
}

bool DistributedExecutor::collect() {
  bool moved = false;
  health_();
  while (const auto ack = control_.try_receive_ack()) {
    if (ack->status != 0)
      throw InternalError(fmt::format("rank {} reports: {}", ack->rank, void_step(ack->status, ack->step)));
    ++acks_[ack->step];
    moved = true;
  }
  while (!in_flight_.empty()) {
    const InFlight& oldest = in_flight_.front();
    if (!worker_.finished(oldest.step)) break;
    // Whether or not the rank that is missing ever acknowledges.
    if (worker_.status() != 0) throw InternalError(void_step(worker_.status(), oldest.step));
    if (acks_[oldest.step] < info_.world - 1) break;
    StepResult result = worker_.result(oldest.step);
    result.device_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - oldest.started).count();
    result.cpu_ms = oldest.cpu_ms;
    acks_.erase(oldest.step);
    in_flight_.pop_front();
    moved = true;
    std::lock_guard lock(mutex_);
    results_.emplace(result.step, std::move(result));
    finished_.notify_one();
  }
  return moved;
}

// Nothing of ours is under way: sleep until the engine has something. Bounded, so that a lost wake-up is a
// hiccup and not a hang.
void DistributedExecutor::wait_for_submission() {
  rank_progress().phase.store(Phase::idle, std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  submitted_.wait_for(lock, std::chrono::milliseconds(100),
                      [&] { return !new_plans_.empty() || !new_sampling_.empty(); });
}

void DistributedExecutor::execute(const StepPlan& plan) {
  const auto started = std::chrono::steady_clock::now();
  sampling_wait_cpu_ = 0;
  const double used = run_plan(worker_, plan, [&] { return wait_for_sampling(plan.step); }, profiler_);
  in_flight_.push_back({plan.step, started, (used - sampling_wait_cpu_) * 1e3});
}

void DistributedExecutor::run() {
  bool stopping = false;
  while (!stopping || !in_flight_.empty()) {
    poll_with_backoff([&] {
      pump();
      return collect() || !plans_.empty() || in_flight_.empty();
    });
    if (!plans_.empty()) {
      const StepPlan plan = std::move(plans_.front());
      plans_.pop_front();
      execute(plan);
      stopping = plan.shutdown;
    } else if (in_flight_.empty() && !stopping) {
      wait_for_submission();
    }
  }
}

namespace {

// One other rank's inbox: plans in order, sampling orders by step.
class Inbox {
 public:
  explicit Inbox(ControlChannel& control) : control_(control) {}

  bool receive() {  // true when something came
    const auto message = control_.try_receive();
    if (!message) return false;
    if (message->kind == ControlKind::plan) {
      plans_.push_back(decode_plan(message->bytes));
    } else {
      SamplingOrders orders = decode_sampling_orders(message->bytes);
      sampling_.emplace(orders.step, std::move(orders));
    }
    return true;
  }
  bool has_plan() const { return !plans_.empty(); }
  StepPlan take_plan() {
    StepPlan plan = std::move(plans_.front());
    plans_.pop_front();
    sampling_.erase(sampling_.begin(), sampling_.lower_bound(plan.step));  // of stages that do not sample
    return plan;
  }
  // `meanwhile` is called while waiting.
  SamplingOrders wait_for_sampling(StepId step, const std::function<void()>& meanwhile) {
    poll_with_backoff([&] {
      meanwhile();
      while (receive()) {
      }
      return sampling_.contains(step);
    });
    SamplingOrders orders = std::move(sampling_.at(step));
    sampling_.erase(step);
    return orders;
  }

 private:
  ControlChannel& control_;
  std::deque<StepPlan> plans_;
  std::map<StepId, SamplingOrders> sampling_;
};

}  // namespace

void run_worker_loop(Worker& worker, ControlChannel& control, int rank, StepProfiler* profiler) {
  Inbox inbox(control);
  std::deque<StepId> unacknowledged;
  HealthPoll health([&worker] { worker.check_health(); });
  bool stopping = false;
  const auto acknowledge = [&] {
    while (!unacknowledged.empty() && worker.finished(unacknowledged.front())) {
      if (worker.status() != 0) log_error("{}", void_step(worker.status(), unacknowledged.front()));
      control.acknowledge({rank, worker.status(), unacknowledged.front()});
      unacknowledged.pop_front();
    }
    control.pump();
  };
  while (!stopping || !unacknowledged.empty()) {
    if (unacknowledged.empty()) rank_progress().phase.store(Phase::idle, std::memory_order_relaxed);
    poll_with_backoff([&] {
      health();
      control.pump();
      while (inbox.receive()) {
      }
      return inbox.has_plan() || (!unacknowledged.empty() && worker.finished(unacknowledged.front()));
    });
    if (inbox.has_plan()) {
      const StepPlan plan = inbox.take_plan();
      run_plan(worker, plan, [&] { return inbox.wait_for_sampling(plan.step, acknowledge); }, profiler);
      unacknowledged.push_back(plan.step);
      stopping = plan.shutdown;
    }
    acknowledge();
  }
}

}  // namespace trireme
