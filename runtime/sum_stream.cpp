#include "runtime/sum_stream.h"

#include <algorithm>

namespace trireme {

// Urgent: a sum takes few processors, and what waits for it is the other half's next layer.
bool x_skip = false, x_library = false;
int64_t x_percent = 50;
int x_chunks = 0, x_chunk_target = 0;
// 1: whole; n: n equal pieces; 13: three quarters and one; 112: a half and two quarters
int64_t x_chunk_begin(int64_t rows, int chunk) {
  const int64_t percent[3][4] = {{0, 75, 100, 100}, {0, 50, 75, 100}, {0, 0, 0, 0}};
  const int64_t n = x_chunks == 13 ? 2 : x_chunks == 112 ? 3 : x_chunks;
  if (chunk >= n) return rows;
  const int64_t at = x_chunks == 13 ? rows * percent[0][chunk] / 100 : x_chunks == 112 ? rows * percent[1][chunk] / 100 : rows * chunk / n;
  return std::min(rows, (at + 64) / 128 * 128);
}
SumStream::SumStream(Device device, StreamPriority priority)
    : stream_(device, priority), halves_{Half{Event(device), Event(device)}, Half{Event(device), Event(device)},
    Half{Event(device), Event(device)}, Half{Event(device), Event(device)},Half{Event(device), Event(device)}, Half{Event(device), Event(device)},Half{Event(device), Event(device)}, Half{Event(device), Event(device)}} {}

void SumStream::queue(int half, const Stream& compute, const std::function<void(const Stream&)>& sum) {
  Half& events = halves_[size_t(half)];
  events.computed.record(compute);
  events.computed.wait_on(stream_);
  sum(stream_);
  events.summed.record(stream_);
}

void SumStream::join(int half, const Stream& compute) const { halves_[size_t(half)].summed.wait_on(compute); }

}  // namespace trireme
