#pragma once
// What this rank knows of every slot: on the device its length, last token, penalty counts and block tables;
// on the host the sampling parameters and table lengths. Applies a plan's slot and block orders, checking
// each against what is there: a plan that does not fit is a bug on rank 0 and fatal.
// One thread (the worker's).

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/step.h"
#include "parallel/plan/executor.h"
#include "parallel/topology.h"
#include "runtime/kv_pool.h"
#include "runtime/packed_upload.h"

namespace trireme {

struct SlotInfo {  // host side
  int32_t prompt_length = 0;
  SlotSampling sampling;
  std::vector<TokenId> suppressed;
  std::shared_ptr<const SlotLists> lists;  // null: none
  std::vector<int32_t> table_lengths;  // by group
};

struct SlotTableOptions {
  int32_t num_slots = 0;
  int32_t max_blocks_per_slot = 0;
  int32_t ring = 3;           // steps in flight + 1
  bool track_counts = false;  // last stage: penalties need them
  Range vocab;                // this shard's
};

class SlotTable {
 public:
  SlotTable(const SlotTableOptions& options, KvPool& kv_pool, Device device);

  // Before the first plan. The first kernel of a kind took 2.8 ms (opening slots) and 3.8 ms (block tables) of a step.
  void warm_up(const Stream& stream);
  // Slot orders, then block orders, queued on the stream. `entry`: this step's place in the ring.
  void apply(const StepPlan& plan, int entry, const Stream& stream);
  const SlotInfo& info(SlotId slot) const;
  void check_open(SlotId slot) const;  // as info() does
  uint64_t version() const { return version_; }  // another one whenever an info() is
  const SlotState& state() const { return state_; }
  TensorView block_table(int group) const { return block_tables_[size_t(group)]; }  // [slots, max_blocks] i32
  int64_t vocab_begin() const { return options_.vocab.begin; }

 private:
  SlotInfo& slot(SlotId id);
  void apply_to_host(const SlotOrder& order);
  void queue_slots(const StepPlan& plan, PackedUpload& upload);
  void queue_run(const std::vector<const SlotOrder*>& run, PackedUpload& upload);
  void queue_opens(const std::vector<const SlotOrder*>& run, PackedUpload& upload);
  void queue_forks(const std::vector<const SlotOrder*>& run, PackedUpload& upload);
  void queue_appends(const std::vector<const SlotOrder*>& run, PackedUpload& upload);
  void queue_blocks(const StepPlan& plan, PackedUpload& upload);
  static int64_t upload_bytes(const StepPlan& plan, int groups);

  SlotTableOptions options_;
  KvPool& kv_pool_;
  Device device_;
  std::vector<SlotInfo> slots_;
  std::vector<uint8_t> open_;  // by slot; apart from the rest, since every step asks
  uint64_t version_ = 0;
  std::vector<std::vector<int32_t>> fork_lengths_;  // by slot: table lengths of its latest fork, when it was made
  Tensor length_, last_token_, counts_;
  SlotState state_;
  std::vector<Tensor> block_tables_;
  std::vector<PackedUpload> uploads_;
  std::vector<std::function<void(const Stream&)>> queued_;
};

}  // namespace trireme
