#pragma once
// How hidden states move between pipeline stages. A stage computes micro-batch k while k - 1 leaves and k + 1 comes in:
//
//   receive stream   recv k+1 ──────────┐arrived            own communicator
//   compute stream   [copy in] layers of k [copy out]
//   send stream                              └computed── send k    own communicator
//
// The working tensor and one buffer on each side are the double buffering; the copies (2 bytes x tokens x hidden, some
// microseconds) keep its address fixed, which decode graphs need. Messages go in step order on both sides.
// On the CPU a call is done when it returns: recv goes straight into the working tensor, send buffers.
// One thread (the worker's).

#include <optional>

#include "parallel/communicator.h"

namespace trireme {

class StageLink {
 public:
  // previous, next: groups of two, this rank being 1 and 0; of one where there is no such stage. `hidden`: the working
  // tensor [max_tokens, hidden], whose memory must outlive the link.
  StageLink(Communicator& previous, Communicator& next, TensorView hidden);

  // Queues that rows [0, tokens) come from the previous stage, and that `compute` waits for them. The message is on its
  // way as soon as the previous stage has it and this stage has taken the one before.
  void receive(int64_t tokens, const Stream& compute);
  // Queues that rows [0, tokens) go to the next stage; `compute` goes on as soon as they are copied.
  void send(int64_t tokens, const Stream& compute);

 private:
  struct Buffer {
    Buffer(TensorView like);
    Tensor data;
    Stream stream;
    Event filled, emptied;
  };
  Communicator& previous_;
  Communicator& next_;
  TensorView hidden_;
  std::optional<Buffer> in_, out_;  // on GPUs, where there is such a stage
};

}  // namespace trireme
