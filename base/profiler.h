#pragma once
// Where a step's time goes: spans of host work and of device work (kernels and copies on a GPU, ops on the CPU),
// recorded between start_profiling() and stop_profiling(). One process is one rank, so there is one recording.
// While off, a mark costs one relaxed load. Times are nanoseconds of CLOCK_MONOTONIC, which the ranks of a host share.
// Start, stop and op marks: the worker's thread. HostSpan: any thread.

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/device.h"

namespace trireme {

enum class SpanCategory : uint8_t { attention, gemm, sampling, norm, embedding, communication, copies, other, host };
inline constexpr int kDeviceCategories = int(SpanCategory::host);  // those before `host`

const char* span_category_name(SpanCategory category);  // as reports print it

// By the name of a kernel (demangled) or of an op: "void ns::rms_norm_kernel<float>(...)", "rms_norm(out, x)".
SpanCategory kernel_category(std::string_view name);

// Rows of the trace: threads of the host, then streams of the device by the driver's number.
inline constexpr int32_t kEngineLane = 0, kWorkerLane = 1, kOpLane = 2, kFirstStreamLane = 16;

struct TraceSpan {
  std::string name;
  SpanCategory category = SpanCategory::other;
  int32_t lane = 0;
  int64_t start_ns = 0, end_ns = 0;
  bool in_graph = false;  // of a kernel that a CUDA graph launched
  bool operator==(const TraceSpan&) const = default;
};

struct Recording {
  std::vector<TraceSpan> spans;  // by their start
  int64_t dropped = 0;      // beyond kMaxSpans
};
inline constexpr size_t kMaxSpans = size_t(1) << 20;  // some 150 MB

namespace detail {
extern std::atomic<bool> profiling;
}
inline bool profiling() { return detail::profiling.load(std::memory_order_relaxed); }
int64_t profile_clock_ns();

// Before `device` runs anything that is to be recorded, graphs included. Throws ConfigError with the remedy where a GPU
// cannot be recorded. From here on until stop_profiling() a GPU's work carries the recorder's overhead.
void prepare_profiling(Device device);
void start_profiling();  // work that is still queued may be recorded, too: Stream::synchronize before
Recording stop_profiling();  // the device's work must have ended (Stream::synchronize)

void add_span(TraceSpan span);
void add_dropped_spans(int64_t count);

// An op begins on this thread; the one before it ends. `name` is a literal, cut at its first parenthesis.
void mark_op(const char* name);
void end_op();

// A stretch of the host's work, from construction to destruction.
class HostSpan {
 public:
  HostSpan(const char* name, int32_t lane)
      : name_(name), lane_(lane), start_ns_(profiling() ? profile_clock_ns() : -1) {}
  ~HostSpan() {
    if (start_ns_ >= 0 && profiling()) finish();
  }
  HostSpan(const HostSpan&) = delete;

 private:
  void finish() const;
  const char* name_;
  int32_t lane_;
  int64_t start_ns_;
};

}  // namespace trireme
