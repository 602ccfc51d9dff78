#pragma once
// Decides what every rank does next: requests in, plans out, results in, events out. Pure: no clock, no I/O, no
// threads; the same calls give the same plans. One thread (the engine's).
//
// Each plan takes decode rows first, then chunks of prompts in work, then admits waiting sequences while slots, blocks,
// tokens and logit rows last. Which of them may start is the batching policy's (batching.h). Every sequence draws one id
// at a time; a beam search (scheduler_beams.cpp) waits for the results of all its beams, chooses, and forks its sequences
// with KvBlocks::fork and a fork order as choices do. It is preempted whole.
//
// A sequence may be submitted again before its last id is on the host: the rows then read the id on the device.
// With pp stages, decode rows are spread over pp plans, so that a row's id is there when its next row starts;
// only when nothing else can run does a plan wait inside the pipeline for an id. Prompts are spread, too: a plan takes
// its share of the tokens that wait to be computed (scheduler_prefill.cpp), since a stage that is done early waits.
// Whoever decodes gets its next token when the plan is done: so prompts may be limited where they share one.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/batching.h"
#include "coordinator/beam_search.h"
#include "coordinator/kv_blocks.h"
#include "coordinator/running_sequences.h"
#include "coordinator/slot_pool.h"
#include "protocol/events.h"

namespace trireme {

struct SchedulerOptions {
  int32_t prefill_chunk = 512;  // tokens of one prompt per plan; 0: as many as the plan takes
  // pp > 1: a plan's share of the prompts' tokens is never fewer. A stage would hardly be quicker with fewer: it reads
  // its weights in any case. A plan costs about a quarter of so many tokens besides its own (docs/scaling.md).
  int32_t min_prefill_share = 256;
  // Prompts' tokens per plan while sequences decode, since these wait for them; 0: as many as the plan takes.
  int32_t mixed_prefill = 0;
  // With that limit: so many more that all of such a plan's tokens are a multiple of this (scheduler_prefill.cpp). From 1.
  int32_t mixed_step_multiple = 1;
  bool enable_prefix_caching = true;
  int32_t max_waiting = 10000;  // sequences not running; a request that comes then is refused
  // For stop strings of beam searches; called when one comes. Empty, or null: such a request is refused.
  std::function<const Tokenizer*()> tokenizer = {};
  BatchingOptions batching{};
};

class Scheduler final {
 public:
  Scheduler(const ClusterInfo& cluster, const SchedulerOptions& options, PlantedFault fault = PlantedFault::none);

  // The request must have passed validate(). One that can never run is answered with a RequestFailedEvent.
  void add(Request request);
  void refuse(RequestId id, const std::string& message, bool client_fault);  // answers a request that is not added
  // Ends its choices, or one of them, with FinishReason::abort; what is unknown has ended already. A choice that others
  // have yet to fork from, and one of a beam search, goes on: its tokens are the caller's to drop.
  void cancel(RequestId id, int32_t choice = -1);
  void cancel_all();

  // Before add() and next_plan(): the time, which never goes backwards. Only batching policies look at it.
  void set_now(TimePoint now);
  void drain() { batcher_.drain(); }  // nothing more will be added: a batch waits for no more requests
  // After next_plan() gave nothing: when it will although nothing happens; nothing when it waits for no time.
  std::optional<TimePoint> waits_until() const { return batcher_.waits_until(); }

  // The next plan, already counted as submitted; nothing when no row can run before a result arrives. Never more
  // than cluster.max_in_flight() plans without their result.
  std::optional<StepPlan> next_plan();
  const std::vector<RequestId>& planned_requests() const { return planned_requests_; }  // of that plan, ascending
  void on_result(const StepResult& result);                                             // in step order
  std::vector<EngineEvent> take_events();
  // What the sampling of plans in flight waits for, as far as it is known by now: to be passed on after each
  // next_plan() and on_result(). In step order.
  std::vector<SamplingOrders> take_sampling_orders();

  bool has_unfinished() const { return !requests_.empty(); }
  int in_flight() const { return int(in_flight_.size()); }
  StepId next_step() const { return next_step_; }
  EngineStats stats() const;
  void verify() const;  // CHECKs the invariants of docs/design.md 5; for tests, O(blocks)
  const KvBlocks& blocks() const { return blocks_; }

 private:
  struct PlannedOutput {
    SequencePtr sequence;
    OutputKind kind;
    int32_t position;
    SlotId slot;
  };
  struct InFlightPlan {
    StepId step;
    std::vector<PlannedOutput> outputs;
    bool owes_sampling;  // SamplingOrders are still to be sent
  };
  struct Draft {  // a plan under construction and what is left of its budgets
    StepPlan plan;
    std::vector<PlannedOutput> outputs;
    std::vector<Sequence*> sequences;  // with a row or forked here
    int32_t tokens_left = 0, outputs_left = 0;
    int32_t prefill_left = 0;  // of tokens_left, what chunks of prompts may take
    void reserve(size_t decode_rows);
  };
  struct BeamGroup {
    BeamSearch search;
    std::vector<std::optional<OutputResult>> results;  // by running beam: of the step under way
    int32_t width = 0;
    int32_t reserved_slots = 0;  // of its `width` slots, those no beam is in; 0 while no beam runs
    bool holds_slots = false;
  };
  struct AcceptedRequest {
    std::vector<SequencePtr> choices;  // of a beam search: its running beams, in the search's order
    std::unique_ptr<BeamGroup> beams;  // null: no beam search
    int32_t unfinished = 0;
    bool started = false;  // counted in the prompt's statistics
  };

  // scheduler_requests.cpp: the life of requests and sequences
  std::optional<std::string> why_never(const Request& request) const;
  SequencePtr make_sequence(const std::shared_ptr<const Request>& request, int32_t choice);
  void accept_choice(AcceptedRequest& accepted, const SequencePtr& sequence, bool finished_before);
  void queue(const SequencePtr& sequence);
  void preempt(const SequencePtr& sequence);
  void withdraw(const SequencePtr& sequence);
  void leave_slot(Sequence& sequence);
  void end(const SequencePtr& sequence);
  void emit_end(const Sequence& sequence, FinishReason reason);
  void forget_if_done(RequestId id);
  void fail(RequestId id, const std::string& message);
  void end_all(AcceptedRequest& accepted);

  // scheduler_beams.cpp: beam searches
  std::optional<std::string> why_no_beams(const Request& request, int32_t length) const;
  void accept_beams(AcceptedRequest& accepted, const std::shared_ptr<const Request>& request);
  BeamGroup& beams_of(const Sequence& sequence) { return *requests_.at(sequence.request->id).beams; }
  int32_t slots_needed(const Sequence& sequence) const;
  SlotId take_slot(const Sequence& sequence);
  void give_back_slots(BeamGroup& group);
  bool must_wait_for_sibling(const Sequence& sequence, StepId step) const;
  int32_t num_running_beside(const Sequence& sequence) const;
  bool is_planned(const Sequence& sequence, StepId step) const;
  void preempt_beams(AcceptedRequest& accepted);
  void apply_candidates(const PlannedOutput& output, const OutputResult& result);
  void regroup(AcceptedRequest& accepted, const std::vector<BeamSearch::Next>& next);
  void drop_beam(BeamGroup& group, const SequencePtr& beam);
  SequencePtr fork_beam(BeamGroup& group, const SequencePtr& parent, int32_t number);
  void append_chosen(Sequence& beam, TokenId id);
  void finish_beams(AcceptedRequest& accepted);
  void emit_aborted_beams(const AcceptedRequest& accepted);
  void emit_beam(const Request& request, int32_t choice, const FinishedBeam& beam, int32_t cached_tokens);

  // scheduler_batching.cpp: what a static batch keeps until its end
  bool retain(const SequencePtr& sequence);
  bool release_retained();  // true: there was something to release
  void leave_batch(RequestId id);

  // scheduler.cpp: who runs
  Draft new_draft() const;
  void schedule_decodes(Draft& draft, bool spread_over_stages);
  void schedule_prefills(Draft& draft);
  void admit_waiting(Draft& draft);
  bool make_room(const SequencePtr& sequence, int32_t end, const Draft& draft);
  SequencePtr youngest_after(const Sequence& sequence, StepId step) const;
  bool give_way();

  // scheduler_prefill.cpp: how much of the prompts' work a plan takes
  int64_t mixed_limit() const;
  int64_t tokens_to_prefill(int64_t enough) const;
  int32_t prefill_share() const;

  // scheduler_rows.cpp: what goes into a plan
  void open(Draft& draft, const SequencePtr& sequence, const CachedPrefix& prefix);
  int32_t fit_chunk(const Sequence& sequence, int32_t start, const Draft& draft) const;
  void add_decode_row(Draft& draft, const SequencePtr& sequence);
  void add_chunk(Draft& draft, const SequencePtr& sequence, int32_t count);
  void add_scores(Draft& draft, const SequencePtr& sequence, int32_t start, int32_t count);
  void add_draw(Draft& draft, const SequencePtr& sequence, int32_t row, int32_t offset);
  void add_output(Draft& draft, const SequencePtr& sequence, const PlanOutput& output);
  void fork_choices(Draft& draft, const SequencePtr& parent);
  static SlotOrder fork_order(const Sequence& parent, const Sequence& child);
  StepPlan launch(Draft draft);

  // scheduler_results.cpp: what came of it
  void apply_draw(const PlannedOutput& output, const OutputResult& result);
  void apply_score(const PlannedOutput& output, const OutputResult& result, PromptLogprobsEvent& scores);
  void flush_scores(PromptLogprobsEvent& scores);
  void emit_token(const Sequence& sequence, const OutputResult& result, FinishReason reason);

  ClusterInfo cluster_;
  SchedulerOptions options_;
  PlantedFault fault_;
  int32_t max_chunk_;
  KvBlocks blocks_;
  SlotPool slots_;
  Batcher batcher_;
  TimePoint now_{};

  std::map<RequestId, AcceptedRequest> requests_;
  std::map<SequenceOrder, SequencePtr> waiting_;
  RunningSequences running_;
  std::map<SlotId, SequencePtr> slot_owners_;  // of running sequences
  std::vector<SlotOrder> queued_orders_;       // for the next plan, before its own
  std::deque<InFlightPlan> in_flight_;
  std::vector<RequestId> planned_requests_;
  std::vector<EngineEvent> events_;
  EngineStats stats_;
  int64_t next_arrival_ = 0;
  StepId next_step_ = 0, retired_ = -1;
  int32_t last_prefill_ = 0;  // tokens of chunks in the newest plan
};

}  // namespace trireme
