#pragma once
// The line about a load that takes long: "loading weights: 3.2 of about 13.5 GB, 1.61 GB/s, 6 s left".

#include <chrono>
#include <cstdint>
#include <string>

#include "checkpoint/tensor_source.h"
#include "parallel/topology.h"

namespace trireme {

// Bytes of the checkpoint that a rank reads, within a few percent: its stage's layers and, on the first and the last
// stage, what belongs to none, divided by tp.
int64_t expected_load_bytes(const TensorSource& source, const Topology& topology, int64_t num_layers);

std::string load_progress_text(int64_t bytes, int64_t expected_bytes, double seconds);

// Tells the rank's progress how far it is; with `logs` also that line about every two seconds. One thread.
class LoadProgress {
 public:
  LoadProgress(int64_t expected_bytes, bool logs) : expected_bytes_(expected_bytes), logs_(logs) {}
  void add(int64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  int64_t expected_bytes_, bytes_ = 0;
  bool logs_;
  Clock::time_point start_ = Clock::now(), logged_ = start_;
};

}  // namespace trireme
