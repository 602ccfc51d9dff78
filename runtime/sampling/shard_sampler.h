#pragma once
// Joins the shards of the vocabulary: kernels/sample ops on this rank's logits, with small exchanges among the last
// stage's TP group between them (shard_exchange.h): through the GPUs' shared memory or by all-gathers, to the same
// bits. Whole rows are never gathered. Every rank of the group ends with the same answers. Nothing here synchronizes;
// on the CPU everything is done when enqueue returns.

#include <memory>
#include <vector>

#include "kernels/sample.h"
#include "parallel/communicator.h"
#include "parallel/topology.h"

namespace trireme {

// One step's sampling orders on the host. Row i reads logits row i.
struct SampleBatch {
  std::vector<SampleRow> rows;
  std::vector<int32_t> suppressed;  // flat; SampleRow::suppress_begin / count
  std::vector<uint32_t> masks;      // [mask rows, ceil(vocab / 32)], bit set = allowed; global ids
  std::vector<int32_t> bias_ids;    // global ids
  std::vector<float> bias_values;
  uint64_t number = 0;  // another one with other contents, so that what the device has is not sent again; 0: unknown
};

struct ShardSamplerOptions {
  int64_t vocab_size = 0;
  Range vocab;  // this shard's ids; may be empty
  int max_rows = 256;
  int ring = 3;                        // steps whose answers may be outstanding
  const PeerBuffers* peers = nullptr;  // the group's shared memory, proved right; null: there is none
};

class ShardSampler {
 public:
  ShardSampler(Device device, Communicator& tp_group, const ShardSamplerOptions& options);
  ~ShardSampler();

  // logits: [rows, vocab.size()] f32, raw.  `entry` in [0, ring): which answer buffers to use;
  // they must have been read since their last use. state gives lengths (positions of draws) and counts.
  void enqueue(int entry, const SampleBatch& batch, TensorView logits, const SlotState& state, const Stream& stream);

  TensorView drawn_ids(int entry, int64_t rows) const;  // [rows] i32 on the device; -1 where nothing was drawn
  const SampleAnswer* answers(int entry) const;         // [rows] on the host, valid once the stream has passed enqueue
  // Of a row of SampleKind::candidates: its answer's candidate_count entries, best first; valid when answers are.
  // value: the processed log-probability; raw: the raw one.
  const SampleEntry* candidates(int entry, int row) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme
