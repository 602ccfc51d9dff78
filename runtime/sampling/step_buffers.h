#pragma once
// One ring entry's memory: a step's orders on their way to the device, and its answers on their way back.

#include <cstdint>
#include <vector>

#include "kernels/sample.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme {

// Which buffers of the rounds each row uses, and how many of each there are. Depends on the orders alone, so
// that every rank, and the host before the device has run, agree.
struct SampleLayout {
  std::vector<SampleIndex> index;
  int32_t num_top = 0, num_candidates = 0, num_open = 0, num_rank = 0, num_beam = 0;
  bool search_top_k = false, search_top_p = false, search_typical = false;
  bool after_top_k = false;  // an open row has a top-k and a top-p search
  bool penalties = false;
  bool only_greedy = false;  // SampleShard::only_greedy

  void plan(const SampleBatch& batch, int64_t vocab_size);  // reuses its memory
};

// Host memory the device can copy from, and its copy on the device. Grows when a batch is larger than any
// before (masks and lists have no tight bound of their own); never shrinks.
class UploadBuffer {
 public:
  UploadBuffer(Device device, size_t bytes) : device_(device) { begin(bytes); }
  ~UploadBuffer();
  UploadBuffer(const UploadBuffer&) = delete;
  UploadBuffer& operator=(const UploadBuffer&) = delete;

  void begin(size_t bytes);                         // of all pieces, each rounded up to 16
  const void* add(const void* data, size_t bytes);  // copies to the host side; where it will lie on the device
  void send(const Stream& stream);
  static size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

 private:
  Device device_;
  char* host_ = nullptr;
  Tensor on_device_;  // cuda only
  size_t capacity_ = 0, used_ = 0;
};

struct StepBuffers {
  StepBuffers(Device device, int max_rows);
  ~StepBuffers();
  StepBuffers(const StepBuffers&) = delete;
  StepBuffers& operator=(const StepBuffers&) = delete;

  SampleAnswer* device_answers() const { return reinterpret_cast<SampleAnswer*>(answers.data()); }
  SampleEntry* device_candidates() const { return reinterpret_cast<SampleEntry*>(candidates.data()); }

  UploadBuffer upload;
  Tensor answers;     // bytes of SampleAnswer[max_rows]
  Tensor ids;         // [max_rows] i32
  Tensor candidates;  // bytes of SampleEntry[max_rows, kSampleCandidates], of the beam rows
  SampleAnswer* host_answers = nullptr;
  SampleEntry* host_candidates = nullptr;
  std::vector<int32_t> beam_of_row;  // where a row's candidates lie; -1: it has none
  uint64_t batch_number = 0;         // SampleBatch::number of what was uploaded last
  SampleShard orders;                // its rows, index and lists on the device; nothing else
};

}  // namespace trireme
