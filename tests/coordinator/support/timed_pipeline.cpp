#include "tests/coordinator/support/timed_pipeline.h"

#include <deque>
#include <optional>
#include <utility>

#include "base/check.h"

namespace trireme::test {
namespace {

StepResult result_of(const StepPlan& plan) {
  StepResult result;
  result.step = plan.step;
  for (size_t output = 0; output < plan.outputs.size(); ++output) {
    OutputResult& one = result.outputs.emplace_back();
    one.token = {99, -1.0f};
    one.rank = 1;
  }
  return result;
}

class Timeline {
 public:
  Timeline(const ClusterInfo& cluster, const StageTimes& times) : stages_(size_t(cluster.pp)), times_(times) {
    CHECK(times.fixed.size() == stages_ && times.per_token.size() == stages_);
    trace_.busy.resize(stages_);
  }

  void submit(StepPlan plan, double now) {
    PlanTrace& run = trace_.plans.emplace_back();
    run.plan = std::move(plan);
    for (size_t stage = 0; stage < stages_; ++stage) {
      double start = std::max(now, last_end(stage));
      if (stage > 0) start = std::max(start, run.end[stage - 1] + times_.hop);
      if (run.plan.draws_needed >= 0 && stage + 1 < stages_)
        start = std::max(start, trace_.plans[size_t(run.plan.draws_needed)].end.back() + times_.feedback);
      const double taken = times_.of(stage, run.plan);
      run.start.push_back(start);
      run.end.push_back(start + taken);
      trace_.busy[stage] += taken;
    }
    trace_.elapsed = run.end.back();
  }

  double end_of(StepId step) const { return trace_.plans[size_t(step)].end.back(); }
  PipelineTrace take() { return std::move(trace_); }

 private:
  double last_end(size_t stage) const {
    return trace_.plans.size() < 2 ? 0 : trace_.plans[trace_.plans.size() - 2].end[stage];
  }
  size_t stages_;
  const StageTimes& times_;
  PipelineTrace trace_;
};

}  // namespace

double PipelineTrace::bubble() const {
  double all = 0;
  for (double one : busy) all += one;
  return 1 - all / (elapsed * double(busy.size()));
}

double PipelineTrace::bubble_between(size_t first, size_t last) const {
  double all = 0, time = 0;
  for (size_t stage = 0; stage < busy.size(); ++stage) {
    time += plans[last].end[stage] - plans[first].end[stage];
    for (size_t plan = first + 1; plan <= last; ++plan) all += plans[plan].end[stage] - plans[plan].start[stage];
  }
  return 1 - all / time;
}

PipelineTrace run_timed(Scheduler& scheduler, const ClusterInfo& cluster, const StageTimes& times) {
  Timeline timeline(cluster, times);
  std::deque<StepPlan> in_flight;
  double now = 0;
  while (scheduler.has_unfinished() || !in_flight.empty()) {
    auto plan = int(in_flight.size()) < cluster.max_in_flight() ? scheduler.next_plan() : std::nullopt;
    if (plan) {
      in_flight.push_back(*plan);
      timeline.submit(std::move(*plan), now);
      continue;
    }
    CHECK(!in_flight.empty()) << "nothing can run";
    now = std::max(now, timeline.end_of(in_flight.front().step) + times.host);
    scheduler.on_result(result_of(in_flight.front()));
    in_flight.pop_front();
    scheduler.take_events();
  }
  return timeline.take();
}

std::string draw(const PipelineTrace& trace, double unit) {
  std::string text;
  for (size_t stage = 0; stage < trace.busy.size(); ++stage) {
    std::string line(size_t(trace.elapsed / unit) + 1, '.');
    for (const PlanTrace& run : trace.plans) {
      const auto from = size_t(run.start[stage] / unit + 0.5), to = size_t(run.end[stage] / unit + 0.5);
      for (size_t at = from; at < to; ++at) line[at] = char('0' + run.plan.step % 10);
    }
    text += "stage " + std::to_string(stage) + "  " + line + "\n";
  }
  return text;
}

}  // namespace trireme::test
