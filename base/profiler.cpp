#include "base/profiler.h"

#include <time.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/device_profiler.h"

namespace trireme {
namespace detail {
std::atomic<bool> profiling{false};
}
namespace {

// The first word that occurs in a name decides, so special cases stand before the words they contain.
constexpr struct {
  const char* word;
  SpanCategory category;
} kWords[] = {
    {"nccl", SpanCategory::communication},
    {"all_reduce", SpanCategory::communication},
    {"all_gather", SpanCategory::communication},
    {"reduce_scatter", SpanCategory::communication},
    {"broadcast", SpanCategory::communication},
    {"send", SpanCategory::communication},
    {"recv", SpanCategory::communication},
    {"memcpy", SpanCategory::copies},
    {"memset", SpanCategory::copies},
    {"copy_blocks", SpanCategory::copies},
    {"attention", SpanCategory::attention},
    {"merge_splits", SpanCategory::attention},
    {"kv_append", SpanCategory::attention},
    {"rope_append", SpanCategory::attention},
    {"add_bias", SpanCategory::norm},
    {"gemm", SpanCategory::gemm},
    {"gemv", SpanCategory::gemm},
    {"cublas", SpanCategory::gemm},
    {"cutlass", SpanCategory::gemm},
    {"nvjet", SpanCategory::gemm},
    {"xmma", SpanCategory::gemm},
    {"splitk", SpanCategory::gemm},
    {"skinny", SpanCategory::gemm},
    {"linear", SpanCategory::gemm},
    {"embed", SpanCategory::embedding},
    {"gather_rows", SpanCategory::embedding},
    {"apply_draws", SpanCategory::embedding},
    {"resolve_tokens", SpanCategory::embedding},
    {"add_position", SpanCategory::embedding},
    {"open_slots", SpanCategory::embedding},
    {"fork_slots", SpanCategory::embedding},
    {"block_table", SpanCategory::embedding},
    {"mark_progress", SpanCategory::other},
    {"norm", SpanCategory::norm},
    {"square_sums", SpanCategory::norm},
    {"rope", SpanCategory::norm},
    {"gated", SpanCategory::norm},
    {"gelu", SpanCategory::norm},
    {"silu", SpanCategory::norm},
    {"add_partial", SpanCategory::norm},
    {"scale", SpanCategory::norm},
    {"soft_cap", SpanCategory::norm},
    {"sampl", SpanCategory::sampling},
    {"draw", SpanCategory::sampling},
    {"beam", SpanCategory::sampling},
    {"candidates", SpanCategory::sampling},
    {"histogram", SpanCategory::sampling},
    {"search_", SpanCategory::sampling},
    {"resolve", SpanCategory::sampling},
    {"finish", SpanCategory::sampling},
    {"heads_kernel", SpanCategory::sampling},
    {"stats_kernel", SpanCategory::sampling},
    {"tops_kernel", SpanCategory::sampling},
    {"rank_kernel", SpanCategory::sampling},
    {"ids_kernel", SpanCategory::sampling},
};

// Without return type, arguments and template arguments, which may hold any word; in lower case.
std::string plain_name(std::string_view name) {
  std::string plain;
  int depth = 0;
  bool begun = false;  // "(anonymous namespace)" is no argument list
  for (size_t i = 0; i < name.size(); ++i) {
    constexpr std::string_view kAnonymous = "(anonymous namespace)";
    if (depth == 0 && name.substr(i, kAnonymous.size()) == kAnonymous) {
      i += kAnonymous.size() - 1;
      continue;
    }
    if (name[i] == '<') ++depth;
    else if (name[i] == '>') --depth;
    else if (depth == 0 && name[i] == '(' && begun) break;
    else if (depth == 0) {
      begun = true;
      plain += char(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    }
  }
  return plain;
}

std::mutex mutex;
Recording recording;
int64_t started_ns = 0;
Device recorded_device;

struct OpenOp {
  std::string_view name;
  int64_t start_ns = -1;
};
thread_local OpenOp open_op;

}  // namespace

const char* span_category_name(SpanCategory category) {
  static constexpr const char* kNames[] = {"attention",      "GEMM",          "sampling", "norm/elementwise",
                                           "embedding/step", "communication", "copies",   "other",
                                           "host"};
  return kNames[size_t(category)];
}

SpanCategory kernel_category(std::string_view name) {
  const std::string plain = plain_name(name);
  for (const auto& row : kWords)
    if (plain.find(row.word) != std::string::npos) return row.category;
  return SpanCategory::other;
}

int64_t profile_clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

void prepare_profiling(Device device) {
  recorded_device = device;
  if (device.is_cuda()) enable_device_records();
}

void start_profiling() {
  {
    std::lock_guard lock(mutex);
    recording = {};
  }
  if (recorded_device.is_cuda()) begin_device_records();
  started_ns = profile_clock_ns();
  open_op = {};
  detail::profiling.store(true);
}

Recording stop_profiling() {
  end_op();
  detail::profiling.store(false);
  if (recorded_device.is_cuda()) collect_device_records(started_ns);
  std::lock_guard lock(mutex);
  std::stable_sort(recording.spans.begin(), recording.spans.end(),
                   [](const TraceSpan& a, const TraceSpan& b) { return a.start_ns < b.start_ns; });
  return std::exchange(recording, {});
}

void add_span(TraceSpan span) {
  std::lock_guard lock(mutex);
  if (recording.spans.size() >= kMaxSpans)
    ++recording.dropped;
  else
    recording.spans.push_back(std::move(span));
}

void add_dropped_spans(int64_t count) {
  std::lock_guard lock(mutex);
  recording.dropped += count;
}

void mark_op(const char* name) {
  const int64_t now = profile_clock_ns();
  end_op();
  const std::string_view text(name);
  open_op = {text.substr(0, text.find('(')), now};
}

// On a GPU an op is the launch of its kernels, which have spans of their own.
void end_op() {
  if (open_op.start_ns < 0) return;
  const OpenOp op = std::exchange(open_op, {});
  const SpanCategory category = recorded_device.is_cuda() ? SpanCategory::host : kernel_category(op.name);
  add_span({std::string(op.name), category, kOpLane, op.start_ns, profile_clock_ns(), false});
}

void HostSpan::finish() const {
  add_span({name_, SpanCategory::host, lane_, start_ns_, profile_clock_ns(), false});
}

}  // namespace trireme
