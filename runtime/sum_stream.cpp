#include "runtime/sum_stream.h"

namespace trireme {

// Urgent: a sum takes few processors, and what waits for it is the other half's next layer.
bool x_skip = false, x_library = false;
int64_t x_percent = 50;
SumStream::SumStream(Device device, StreamPriority priority)
    : stream_(device, priority), halves_{Half{Event(device), Event(device)}, Half{Event(device), Event(device)}} {}

void SumStream::queue(int half, const Stream& compute, const std::function<void(const Stream&)>& sum) {
  Half& events = halves_[size_t(half)];
  events.computed.record(compute);
  events.computed.wait_on(stream_);
  sum(stream_);
  events.summed.record(stream_);
}

void SumStream::join(int half, const Stream& compute) const { halves_[size_t(half)].summed.wait_on(compute); }

}  // namespace trireme
