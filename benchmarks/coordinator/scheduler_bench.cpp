// scheduler_bench [sequences]: what rank 0's host does for a decode step besides waiting: results in, plan out, events
// out and encoded; the model is nobody. Prints microseconds of CPU per step.

#include <ctime>

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "coordinator/scheduler.h"
#include "protocol/codec.h"

namespace trireme {
namespace {

double cpu_microseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) * 1e6 + double(time.tv_nsec) * 1e-3;
}

StepResult made_up_result(const StepPlan& plan) {
  StepResult result{.step = plan.step, .outputs = {}, .device_ms = 0};
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    OutputResult output;
    output.token = {TokenId((plan.step * 31 + int64_t(i)) % 100000), -1.5f};
    output.rank = 1;
    result.outputs.push_back(std::move(output));
  }
  return result;
}

ClusterInfo cluster_of(int32_t sequences) {
  ClusterInfo info;
  info.num_slots = sequences;
  info.max_batched_tokens = 8192;
  info.max_logit_rows = sequences;
  info.max_model_len = 4096;
  info.max_blocks_per_slot = 257;
  info.vocab_size = 128256;
  info.groups = {{16, sequences * 130, 0}};
  return info;
}

void run(int32_t sequences) {
  Scheduler scheduler(cluster_of(sequences), {.prefill_chunk = 0});
  for (int32_t i = 0; i < sequences; ++i) {
    Request request;
    request.id = RequestId(i + 1);
    for (int32_t t = 0; t < 512; ++t) request.prompt.push_back((i * 7919 + t * 104729) % 128256);
    request.sampling.max_new_tokens = 1400;
    request.sampling.ignore_eos = true;
    scheduler.add(std::move(request));
  }
  std::deque<StepResult> results;
  double plan_us = 0, result_us = 0, emit_us = 0;
  int64_t steps = 0, bytes = 0;
  std::string frame;
  while (steps < 1000) {
    const double a = cpu_microseconds();
    std::optional<StepPlan> plan = scheduler.next_plan();
    const double b = cpu_microseconds();
    const bool decodes = plan && int32_t(plan->rows.size()) == sequences && plan->num_tokens() == sequences;
    if (plan) results.push_back(made_up_result(*plan));
    if (results.size() < 2 && plan) continue;
    const double c = cpu_microseconds();
    scheduler.on_result(results.front());
    results.pop_front();
    const double d = cpu_microseconds();
    frame.clear();
    append_frame(frame, RankMessage(EventBatch{scheduler.take_events()}), 1);
    bytes += int64_t(frame.size());
    const double e = cpu_microseconds();
    if (!decodes) continue;
    plan_us += b - a, result_us += d - c, emit_us += e - d;
    ++steps;
  }
  std::printf("%d sequences: %.1f us a step (plan %.1f, results %.1f, events %.1f), %.1f bytes of events per token\n",
              sequences, (plan_us + result_us + emit_us) / double(steps), plan_us / double(steps),
              result_us / double(steps), emit_us / double(steps), double(bytes) / double(steps) / sequences);
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  if (argc > 1)
    trireme::run(std::atoi(argv[1]));
  else
    for (int sequences : {1, 32, 256, 512}) trireme::run(sequences);
}
