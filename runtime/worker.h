#pragma once
// One rank's part of a step: the same code on every rank, rank 0 included. Queues everything on its stream;
// on the CPU a call returns when the work is done. One thread, the one that owns MPI and the device.

#include <functional>
#include <memory>
#include <optional>

#include "base/progress.h"
#include "parallel/plan/executor.h"
#include "runtime/decode_graphs.h"
#include "runtime/models/model.h"
#include "runtime/peer_sums.h"
#include "runtime/replica_check.h"
#include "runtime/sampling/batch_builder.h"
#include "runtime/sampling/shard_sampler.h"
#include "runtime/slot_table.h"
#include "runtime/stage_link.h"
#include "runtime/step_inputs.h"

namespace trireme {

// The groups a worker talks in.
struct WorkerGroups {
  Communicator& tp;
  Communicator& previous;  // of two: 0 the previous stage, 1 this one; of one in the first stage
  Communicator& next;      // of two: 0 this stage, 1 the next one; of one in the last stage
  Communicator& feedback;  // rank = stage
  PeerSums sums = {};      // how `tp` adds up
  const PeerBuffers* sampling = nullptr;  // what its shards sample through; null: `tp`
};

class Worker {
 public:
  Worker(std::unique_ptr<Model> model, std::unique_ptr<KvPool> kv_pool, const ModelConfig& config,
         const Topology& topology, const ClusterInfo& info, WorkerGroups groups, Device device,
         DecodeGraphMode graphs = DecodeGraphMode::on);

  // Once, before the first plan, on all ranks: records the decode graphs. What an op sets up at its first use is set up
  // here.
  void warm_up();

  // Runs a plan; plans come in step order. `sampling_orders` is called on the last stage when the plan says
  // sampling_follows, after the forward pass has been queued; it waits for them.
  void execute(const StepPlan& plan, const std::function<SamplingOrders()>& sampling_orders);

  // Of steps executed and not yet pushed out of the ring: has the device finished?
  bool finished(StepId step) const;
  // Not 0 (PeerSums::status): a sum of the group went wrong, and steps found finished since must not be used (StepAck).
  int32_t status() const { return groups_.sums.status(); }
  // Last stage, after finished(step).
  StepResult result(StepId step) const;

  // Throws InternalError when a group has noticed that a peer failed; never waits.
  void check_health();

  const Stream& stream() const { return stream_; }

 private:
  struct Entry {  // one step in the ring
    StepId step = -1;
    mutable bool is_done = true;  // as far as finished() has seen
    StepInputs inputs;
    Event done, feedback_sent;            // feedback_sent: last stage
    Event draws_arrived, draws_applied;   // earlier stages
    std::vector<PlanOutput> outputs;
    Tensor received_draws;  // [max_outputs] i32, earlier stages
    Entry(StepInputsMemory& memory, Device device, bool keep_draw_slots);
  };

  Entry& entry(StepId step);
  const Entry& entry(StepId step) const;
  void expect_draws(Entry& entry);
  void receive_draws(StepId through);
  TensorView received_draws(const Entry& entry) const;
  void forward(const Entry& entry, int64_t graph_size);
  void compute(const Entry& entry);
  void compute_logits(const Entry& entry, StepContext& context);
  void sample(const StepPlan& plan, Entry& entry, const std::function<SamplingOrders()>& sampling_orders);
  void send_draws(Entry& entry);
  void prepare(const StepPlan& plan, Entry& entry, int64_t graph_size);
  StepContext step_context(const Entry& entry);

  std::unique_ptr<Model> model_;
  std::unique_ptr<KvPool> kv_pool_;
  ModelConfig config_;
  Topology topology_;
  ClusterInfo info_;
  WorkerGroups groups_;
  Device device_;
  Stream stream_, feedback_stream_;
  Event sampled_;
  SlotTable slots_;
  SampleBatchBuilder batches_;  // reads slots_
  Workspace workspace_;
  Tensor hidden_, output_rows_, logits_;  // [tokens, hidden], [outputs, hidden], [outputs, vocabulary shard]
  StageLink link_;                        // moves hidden_
  std::optional<ShardSampler> sampler_;   // last stage
  DecodeGraphs graphs_;
  std::optional<ReplicaCheck> replica_check_;
  StepInputsMemory inputs_memory_;
  std::vector<Entry> ring_;
  StepId received_through_ = -1;  // draws of steps <= this are in the slot state (earlier stages)
};

}  // namespace trireme
