#pragma once
// Runs a body against a real cluster of this test's MPI ranks: rank 0's body submits plans to the executor, all
// ranks carry them out. Collective over the world.

#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "parallel/cluster.h"
#include "runtime/distributed_executor.h"
#include "runtime/rank_runtime.h"
#include "tests/support/ranks.h"

namespace trireme::test {

struct Shape {
  int tp = 1, pp = 1;
};

// Every tp x pp of exactly this world, up to `layers` stages: the smallest model has three.
inline std::vector<Shape> shapes_of(int world, int64_t layers = 3) {
  std::vector<Shape> shapes;
  for (int tp = 1; tp <= world; ++tp)
    if (world % tp == 0 && world / tp <= layers) shapes.push_back({tp, world / tp});
  return shapes;
}

// Submits plans one after the other and numbers them.
class PlanRunner {
 public:
  explicit PlanRunner(Executor& executor) : executor_(executor) {}
  StepResult run(StepPlan plan) {
    plan.step = ++step_;
    plan.draws_needed = plan.step - 1;
    executor_.submit(std::move(plan));
    return executor_.wait(step_);
  }
  const ClusterInfo& info() const { return executor_.info(); }
  Executor& executor() { return executor_; }
  StepId last_step() const { return step_; }

 private:
  Executor& executor_;
  StepId step_ = -1;
};

inline std::string model_path(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/models/" + name;
}

// `body` runs on rank 0, in a thread of its own, and returns the number of the next step. Without peer_memory all sums
// and exchanges of GPUs go through NCCL.
inline void run_executor(const std::string& model, Shape shape, DeviceKind device, const RankRuntimeOptions& options,
                         const std::function<StepId(Executor&)>& body, bool peer_memory = true) {
  if (world_rank() == 0)
    std::printf("  %s on %s: tp %d pp %d\n", model.c_str(), device == DeviceKind::cpu ? "cpu" : "cuda", shape.tp,
                shape.pp);
  std::fflush(stdout);
  Cluster cluster({.tp = shape.tp, .pp = shape.pp, .device = device, .expected_world = 0, .peer_memory = peer_memory});
  const Checkpoint checkpoint = open_checkpoint(model_path(model), {.need_weights = true, .need_tokenizer = false});
  RankRuntime runtime(cluster, checkpoint, options);
  if (cluster.topology().rank() != 0) {
    run_worker_loop(runtime.worker(), cluster.control(), cluster.topology().rank());
    cluster.set_idle_hook(nullptr);
    cluster.barrier();
    return;
  }
  DistributedExecutor executor(runtime.worker(), cluster.control(), runtime.info());
  cluster.set_idle_hook([&] { executor.pump(); });
  std::thread engine([&] {
    StepPlan shutdown;
    shutdown.shutdown = true;
    shutdown.step = body(executor);
    shutdown.draws_needed = shutdown.step - 1;
    const StepId last = shutdown.step;
    executor.submit(std::move(shutdown));
    executor.wait(last);
  });
  executor.run();
  engine.join();
  cluster.set_idle_hook(nullptr);
  cluster.barrier();
}

inline void run_cluster(const std::string& model, Shape shape, DeviceKind device, const RankRuntimeOptions& options,
                        const std::function<void(PlanRunner&)>& body) {
  run_executor(model, shape, device, options, [&](Executor& executor) {
    PlanRunner runner(executor);
    body(runner);
    return runner.last_step() + 1;
  });
}

}  // namespace trireme::test
