#pragma once
// The forward pass of decode steps (every row one token) as CUDA graphs, one per batch size of a short list: a step of
// 37 sequences runs the graph of 40, its other rows being padding that touches no cache and is not read. All graphs
// work in the same memory. Recorded before the first request; afterwards a step only looks one up. One thread.

#include <functional>
#include <vector>

#include "base/stream.h"
#include "parallel/plan/plan.h"

namespace trireme {

enum class DecodeGraphMode : uint8_t {
  off,     // every step is queued op by op
  padded,  // as with graphs, but queued op by op: what tests of the padding use where nothing can be recorded
  on,      // graphs where the device has them
};

class DecodeGraphs {
 public:
  // Sizes up to max_rows, the largest being max_rows or 512, whichever is less.
  DecodeGraphs(Device device, DecodeGraphMode mode, int64_t max_rows);

  static std::vector<int64_t> batch_sizes(int64_t max_rows);  // ascending: 1, 2, 4, 8, then closely spaced
  const std::vector<int64_t>& sizes() const { return sizes_; }  // empty: off
  // The size the plan's forward pass is to be padded to; 0: as it is. Depends on the plan alone, so every rank agrees.
  int64_t size_for(const StepPlan& plan) const;

  void record(int64_t size, const Stream& stream, const std::function<void()>& forward);
  // Launches the graph, or calls `forward` where there is none.
  void run(int64_t size, const Stream& stream, const std::function<void()>& forward) const;

 private:
  size_t index_of(int64_t size) const;

  bool recordable_;
  std::vector<int64_t> sizes_;
  std::vector<Graph> graphs_;  // by size
};

}  // namespace trireme
