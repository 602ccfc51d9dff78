#include "runtime/worker.h"

#include <algorithm>

#include "base/backend_traits.h"
#include "base/fault_injection.h"
#include "kernels/elementwise.h"
#include "kernels/mark_progress.h"

namespace trireme {
namespace {

int ring_size(const ClusterInfo& info) { return info.pp + 2; }  // one more than may be in flight

StepInputsLimits input_limits(const ClusterInfo& info) {
  return {info.max_batched_tokens, std::max(info.num_slots, 1), info.max_logit_rows};
}

// 0, and so no graphs, where one token's query heads make more than a decode tile: how attention is launched then
// depends on the contexts.
int64_t most_decode_rows(const ClusterInfo& info, const KvPool& kv_pool) {
  for (int group = 0; group < kv_pool.num_groups(); ++group) {
    const KvGroupSpec& spec = kv_pool.spec(group);
    if (spec.kv_heads > 0 && spec.query_heads / spec.kv_heads > kDecodeTileRows) return 0;
  }
  return std::min({info.num_slots, info.max_batched_tokens, info.max_logit_rows});
}

SlotTableOptions slot_table_options(const ClusterInfo& info, const Topology& topology, const ModelConfig& config) {
  return {.num_slots = info.num_slots,
          .max_blocks_per_slot = info.max_blocks_per_slot,
          .ring = ring_size(info),
          .track_counts = topology.is_last_stage(),
          .vocab = topology.shard(config.vocab_size)};
}

}  // namespace

Worker::Entry::Entry(StepInputsMemory& memory, Device device, bool keep_draw_slots)
    : inputs(memory, device, keep_draw_slots),
      done(device),
      feedback_sent(device),
      draws_arrived(device),
      draws_applied(device),
      received_draws(DType::i32, {memory.limits.max_outputs}, device) {}

Worker::Worker(std::unique_ptr<Model> model, std::unique_ptr<KvPool> kv_pool, const ModelConfig& config,
               const Topology& topology, const ClusterInfo& info, WorkerGroups groups, Device device,
               DecodeGraphMode graphs)
    : model_(std::move(model)),
      kv_pool_(std::move(kv_pool)),
      config_(config),
      topology_(topology),
      info_(info),
      groups_(groups),
      device_(device),
      stream_(device),
      feedback_stream_(device, StreamPriority::urgent),
      sampled_(device),
      slots_(slot_table_options(info, topology, config), *kv_pool_, device),
      batches_(slots_, config.vocab_size),
      workspace_(device, model_->workspace_bytes(info.max_batched_tokens)),
      hidden_(activation_dtype(device), {info.max_batched_tokens, config.hidden_size}, device),
      link_(groups.previous, groups.next, hidden_),
      graphs_(device, graphs, most_decode_rows(info, *kv_pool_)),
      inputs_memory_(input_limits(info), *kv_pool_, device) {
  if (ReplicaCheck::wanted()) replica_check_.emplace(groups.tp);
  for (int i = 0; i < ring_size(info); ++i)
    ring_.emplace_back(inputs_memory_, device, !topology.is_last_stage());
  if (!topology.is_last_stage()) return;
  const Range vocab = topology.shard(config.vocab_size);
  output_rows_ = Tensor(activation_dtype(device), {info.max_logit_rows, config.hidden_size}, device);
  logits_ = Tensor(kLogitsDType, {info.max_logit_rows, vocab.size()}, device);
  sampler_.emplace(device, groups.tp,
                   ShardSamplerOptions{config.vocab_size, vocab, info.max_logit_rows, ring_size(info),
                                       groups.sampling});
}

Worker::Entry& Worker::entry(StepId step) { return ring_[size_t(step % int64_t(ring_.size()))]; }
const Worker::Entry& Worker::entry(StepId step) const { return ring_[size_t(step % int64_t(ring_.size()))]; }

StepContext Worker::step_context(const Entry& entry) {
  StepContext context{device_, stream_, workspace_, groups_.tp, groups_.sums, *kv_pool_, entry.inputs.ids(), {}};
  for (int group = 0; group < kv_pool_->num_groups(); ++group)
    context.batches.push_back(entry.inputs.batch(slots_, group));
  return context;
}

TensorView Worker::received_draws(const Entry& entry) const {
  return entry.received_draws.view().slice(0, 0, int64_t(entry.outputs.size()));
}

// On a GPU the ids come while later steps run: whoever needs them waits for an event, and the sender for nobody. A
// CPU's recv returns only with the ids, so there it is left to receive_draws().
void Worker::expect_draws(Entry& entry) {
  if (topology_.is_last_stage() || device_.is_cpu() || entry.outputs.empty()) return;
  entry.draws_applied.wait_on(feedback_stream_);  // the ids' buffer is free again
  groups_.feedback.recv(received_draws(entry), topology_.pp() - 1, feedback_stream_);
  entry.draws_arrived.record(feedback_stream_);
}

// Earlier stages learn what was drawn here, in step order, and no later than the plan asks. Draws go into the
// slot state before the plan's slot orders, which may hand a slot to another sequence.
void Worker::receive_draws(StepId through) {
  if (topology_.is_last_stage()) return;
  for (; received_through_ < through; ++received_through_) {
    Entry& drawn = entry(received_through_ + 1);
    CHECK_EQ(drawn.step, received_through_ + 1) << "draws of a step that left the ring";
    if (drawn.outputs.empty()) continue;
    const TensorView ids = received_draws(drawn);
    if (device_.is_cpu()) groups_.feedback.recv(ids, topology_.pp() - 1, stream_);
    drawn.draws_arrived.wait_on(stream_);
    apply_draws(slots_.state(), drawn.inputs.draw_slots(), ids, slots_.vocab_begin(), stream_);
    drawn.draws_applied.record(stream_);
  }
}

void Worker::send_draws(Entry& entry) {
  if (topology_.pp() == 1 || entry.outputs.empty()) return;
  sampled_.record(stream_);
  sampled_.wait_on(feedback_stream_);  // its own stream: a receiver that is late must not hold up the next step
  const TensorView ids = sampler_->drawn_ids(int(entry.step % int64_t(ring_.size())), int64_t(entry.outputs.size()));
  for (int stage = 0; stage + 1 < topology_.pp(); ++stage) groups_.feedback.send(ids, stage, feedback_stream_);
  entry.feedback_sent.record(feedback_stream_);
}

// What a graph can hold of a step: everything between the arrival of the stage's input and its output.
void Worker::compute(const Entry& entry) {
  StepContext context = step_context(entry);
  entry.inputs.resolve(slots_, stream_);
  const TensorView hidden = hidden_.view().slice(0, 0, entry.inputs.shape().tokens);
  if (topology_.is_first_stage()) model_->embed(hidden, context);
  model_->layers(hidden, context);
  if (topology_.is_last_stage() && entry.inputs.shape().outputs > 0) compute_logits(entry, context);
  mark_progress(device_, stream_);
}

void Worker::compute_logits(const Entry& entry, StepContext& context) {
  const int64_t outputs = entry.inputs.shape().outputs;
  const TensorView rows = output_rows_.view().slice(0, 0, outputs);
  gather_rows(rows, hidden_.view().slice(0, 0, entry.inputs.shape().tokens), entry.inputs.output_tokens(), stream_);
  model_->logits(logits_.view().slice(0, 0, outputs), rows, context);
}

void Worker::forward(const Entry& entry, int64_t graph_size) {
  const HostSpan span("forward", kWorkerLane);
  const int64_t tokens = entry.inputs.shape().tokens;
  if (!topology_.is_first_stage()) link_.receive(tokens, stream_);
  if (graph_size > 0)
    graphs_.run(graph_size, stream_, [&] { compute(entry); });
  else
    compute(entry);
  if (replica_check_) replica_check_->check("hidden states", hidden_.view().slice(0, 0, tokens), stream_);
  if (!topology_.is_last_stage()) link_.send(tokens, stream_);
}

// Largest first: what is set up on the way is then large enough for all. Each size runs once before it is recorded.
void Worker::warm_up() {
  slots_.warm_up(stream_);
  Entry& entry = ring_.front();
  const StepPlan padding;
  const auto& sizes = graphs_.sizes();
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
    entry.inputs.prepare(padding, slots_, *size, stream_);
    compute(entry);
    stream_.synchronize();
    graphs_.record(*size, stream_, [&] { compute(entry); });
    rank_progress().tick("record graphs");
  }
  stream_.synchronize();
}

void Worker::sample(const StepPlan& plan, Entry& entry, const std::function<SamplingOrders()>& sampling_orders) {
  const HostSpan span("sample", kWorkerLane);
  const int64_t outputs = int64_t(plan.outputs.size());
  const TensorView logits = logits_.view().slice(0, 0, outputs);
  fault_point(FaultPoint::sampling);
  std::optional<SamplingOrders> orders;
  if (plan.sampling_follows) orders = sampling_orders();
  const int ring_entry = int(plan.step % int64_t(ring_.size()));
  sampler_->enqueue(ring_entry, batches_.build(plan.outputs, orders ? &*orders : nullptr), logits, slots_.state(), stream_);
  const TensorView drawn = sampler_->drawn_ids(ring_entry, outputs);
  if (replica_check_) replica_check_->check("drawn ids", drawn, stream_);
  apply_draws(slots_.state(), entry.inputs.draw_slots(), drawn, slots_.vocab_begin(), stream_);
  send_draws(entry);
}

void Worker::execute(const StepPlan& plan, const std::function<SamplingOrders()>& sampling_orders) {
  RankProgress& progress = rank_progress();
  progress.step.store(plan.step, std::memory_order_relaxed);
  progress.phase.store(Phase::stepping, std::memory_order_relaxed);
  fault_point(FaultPoint::step, plan.step);
  if (plan.shutdown) fault_point(FaultPoint::drain);
  receive_draws(plan.draws_needed);

  Entry& entry = this->entry(plan.step);
  if (!entry.is_done) entry.done.synchronize();                   // this rank is a whole ring behind
  if (topology_.pp() > 1) entry.feedback_sent.wait_on(stream_);  // the ids' buffer is free again
  entry.is_done = false;
  entry.step = plan.step;
  entry.outputs = plan.outputs;
  const int64_t graph_size = graphs_.size_for(plan);
  prepare(plan, entry, graph_size);
  if (!plan.rows.empty()) {
    forward(entry, graph_size);
    expect_draws(entry);
    if (topology_.is_last_stage() && !plan.outputs.empty()) sample(plan, entry, sampling_orders);
  }
  entry.done.record(stream_);
}

void Worker::prepare(const StepPlan& plan, Entry& entry, int64_t graph_size) {
  const HostSpan span("prepare", kWorkerLane);
  slots_.apply(plan, int(plan.step % int64_t(ring_.size())), stream_);
  entry.inputs.prepare(plan, slots_, graph_size, stream_);
}

void Worker::check_health() {
  for (Communicator* group : {&groups_.tp, &groups_.previous, &groups_.next, &groups_.feedback}) group->check_health();
}

bool Worker::finished(StepId step) const {
  const Entry& asked = entry(step);
  CHECK_EQ(asked.step, step) << "finished() of a step that left the ring";
  if (!asked.is_done) asked.is_done = asked.done.done();
  return asked.is_done;
}

StepResult Worker::result(StepId step) const {
  const Entry& done = entry(step);
  CHECK_EQ(done.step, step) << "result of a step that left the ring";
  StepResult result{.step = step, .outputs = {}, .device_ms = 0};
  if (done.outputs.empty()) return result;
  read_outputs(result, *sampler_, int(step % int64_t(ring_.size())), done.outputs.size());
  return result;
}

}  // namespace trireme
